# The commands of this repository. `make` alone lists them.
#
# Nothing here changes the environment of the go command: what passes here
# passes with plain `go build` and `go test`.

SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
# Larger parts of the lab have their commands in files of their own.
-include ci/make/*.mk

.PHONY: help run build build-lab build-rivals test test-race lint fuzz cover bench bench-packages bench-compare bench-latency bench-growth bench-cache soak numa-proof setup clean

DATA    ?= ./data
ADDRESS ?= :9000
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Packages whose tests also run under the race detector in `make test`:
# those where goroutines share memory. The longest come first, or one core would
# stand idle while they end.
RACE ?= ./engine/store ./engine/cache ./engine ./cmd/cairn/internal/... ./engine/...

# How long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 30s

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run DATA=./data ADDRESS=:9000    where the server keeps its data and listens"

run: build ## build the server and run it on ./data, port 9000
	bin/cairn server --data $(DATA) --address $(ADDRESS)

build: ## build bin/cairn
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/cairn ./cmd/cairn

test: lint test-race ## all checks and tests, as a pipeline runs them
	@ci/setup --check
	go test -timeout 10m ./...

# Crash scripts are thousands of starts of one store, minutes long under the
# detector; `make test` runs them without it.
test-race: ## the tests of the concurrent packages under the race detector
	go test -race -short -skip '^TestCrash' -timeout 10m $(RACE)

lint: ## format, vet, staticcheck, known vulnerabilities, the import law
	ci/check
	go test -count=1 ./ci/lint

fuzz: ## every fuzz target for FUZZTIME each (default 30s)
	ci/fuzz $(FUZZTIME)

cover: ## coverage by package, and cover.out for `go tool cover`
	go test -short -timeout 10m -coverpkg=./engine/...,./cmd/cairn/... -coverprofile=cover.out ./...
	go tool cover -func=cover.out | tail -1

build-lab: ## build bin/lab, which measures servers from outside
	go build -trimpath -ldflags '-X github.com/cairnstore/cairn/harness/record.version=$(VERSION)' -o bin/lab ./cmd/lab

bench: bench-packages bench-compare bench-latency bench-growth ## all measurements of speed; records go to results/runs

bench-packages: ## the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem -timeout 60m ./engine/...

bench-compare: build build-lab ## the speed table; MINIO= and VERSITYGW= name rivals' binaries, BENCH= more flags
	bin/lab bench compare --cairn bin/cairn $(if $(MINIO),--minio $(MINIO)) $(if $(VERSITYGW),--versitygw $(VERSITYGW)) $(BENCH)

bench-latency: build build-lab ## P99 of small PUTs at 70 % of the capacity, during large uploads
	bin/lab bench latency --cairn bin/cairn $(BENCH)

bench-growth: build build-lab ## what a request costs with 5,000,000 objects, beside 10,000
	bin/lab bench growth --cairn bin/cairn $(BENCH)

# A Go module of its own: the product requires no rival.
build-rivals: ## build bin/rivals, which measures the memory cache beside others
	cd harness/rivals && go build -trimpath -ldflags '-X github.com/cairnstore/cairn/harness/record.version=$(VERSION)' -o ../../bin/rivals .

bench-cache: build-rivals ## the memory cache beside the best of Go: rates, latencies, hit ratios
	bin/rivals speed --results results/runs $(BENCH)
	bin/rivals ratio --results results/runs

soak: ## the long forms of the crash and model tests, with their progress; hours
	go run ./ci/soak ./engine/... ./cmd/cairn/...

numa-proof: ## arenas on a machine of two nodes, in qemu; figures go to results/numa
	ci/numa-proof

setup: ## install what the tests need from outside (Debian, Ubuntu)
	ci/setup

clean: ## remove what was built; never data
	rm -rf bin cover.out
