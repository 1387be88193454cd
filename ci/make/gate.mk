.PHONY: proxies proxies-accept

proxies: ## count allocations, syncs and bytes of the product's operations
	go run ./regressions/proxies/count

proxies-accept: ## make today's counts the accepted ones; WHY='...' for what rose
	go run ./regressions/proxies/count -accept regressions/proxies/proxies.json -why '$(WHY)'
