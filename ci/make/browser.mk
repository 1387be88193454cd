# The lab's pages in a real browser: a Go module of its own, whose libraries no
# other part needs.
.PHONY: test-browser

test-browser: ## the lab's pages in a real browser
	cd harness/browser && go vet ./... && go test -timeout 5m ./...

test: test-browser
