# Performance gates. lab gate ends with 0 pass, 1 worse, 2 mishap, 3 cannot tell.
.PHONY: gate gate-sim proxies proxies-accept

BASE ?= main

gate: build-lab ## compare this tree's speed with BASE=main; GATE= more flags
	bin/lab gate --base $(BASE) $(GATE)

gate-sim: build-lab ## 2,000 simulated gates for each line of the table of false alarms and powers
	bin/lab gate simulate --gates 2000

proxies: ## count allocations, syncs and bytes of the product's operations
	go run ./regressions/proxies/count

proxies-accept: ## make today's counts the accepted ones; WHY='...' for what rose
	go run ./regressions/proxies/count -accept regressions/proxies/proxies.json -why '$(WHY)'
