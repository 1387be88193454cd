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

.PHONY: build-enginebench gate-targets nightly nightly-publish

build-enginebench: ## build bin/enginebench, which measures the engine in process
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/enginebench ./cmd/enginebench

gate-targets: build build-lab build-enginebench ## hold this machine, if it qualifies, to the absolute goals; GATE= more flags
	bin/lab gate --targets $(GATE)

nightly: build build-lab ## one more point in the history of every metric
	bin/lab bench compare --cairn bin/cairn $(BENCH)
	bin/lab bench latency --cairn bin/cairn $(BENCH)

# HISTORY_REMOTE is a remote's name or address. Where it asks for a token, the
# variable HISTORY_TOKEN has it: it stays out of command lines and logs.
HISTORY_REMOTE ?= origin

nightly-publish: ## append this tree's records to the branch that keeps the history
	ci/publish-records history "$(HISTORY_REMOTE)"

.PHONY: gate-aa

AA ?= 10

gate-aa: build-lab ## AA=10 real gates of HEAD against itself; hours. GATE= more flags
	ci/gate-aa $(AA) $(GATE)
