# The lab's scenarios: by its own generator, by k6, and on rivals.
.PHONY: k6 test-k6 rivals compare

# A Go module of its own, since k6 is AGPL.
k6: ## build bin/k6, k6 with the extension k6/x/cairn
	cd harness/xk6 && go build -o ../../bin/k6 ./cmd/k6

test-k6: ## the extension's tests, and every k6 script shortened in a real k6
	cd harness/xk6 && go vet ./... && go test -timeout 5m ./...

test: test-k6

rivals: ## build MinIO and versitygw into .tools/rivals, to compare with
	ci/rivals

compare: build build-lab rivals ## the scoreboard: the same scenarios on Cairn, MinIO and versitygw, a table and a page; COMPARE= more flags
	bin/lab compare --report results/tmp/compare.html $(COMPARE)
