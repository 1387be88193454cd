# k6 with k6/x/cairn: a Go module of its own, since k6 is AGPL.
.PHONY: k6 test-k6

k6: ## build bin/k6, k6 with the extension k6/x/cairn
	cd harness/xk6 && go build -trimpath -o ../../bin/k6 ./cmd/k6

test-k6: ## the extension's tests, and every k6 script shortened in a real k6
	cd harness/xk6 && go vet ./... && go test -timeout 5m ./...

test: test-k6
