# Reroot. `make` prints the targets. Everything that is missing is installed (apt-get) or built once and cached below
# ${XDG_CACHE_HOME:-~/.cache}/reroot; nothing is written into the tree but bin/.
SHELL := /bin/bash
.DEFAULT_GOAL := help

TAGS := containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper
# The same flags everywhere: other ones compile every dependency once more.
export GOFLAGS := -buildvcs=false -tags=$(TAGS)
export GONOSUMDB := knative.dev/*,github.com/openshift/*
GO ?= go
# The minor versions of etcd whose data directories a node can regenerate; each is a module of its own.
ETCDS := 3.5 3.6 3.7
# A module of its own, which those and this one use.
HEAP := github.com/reroot-dev/reroot/node-executor/heap
ARGS ?=

.PHONY: help
help: ## print the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build reroot, reroot-node, reroot-functions and the node's etcds into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./events/cmd/reroot ./node-executor/cmd/reroot-node
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/reroot-functions ./functions/cmd/functions
	for minor in $(ETCDS); do \
		CGO_ENABLED=0 GOFLAGS=-buildvcs=false $(GO) build -C node-executor/crypto/etcd/etcd-$$minor -trimpath -ldflags '-s -w' -o $(CURDIR)/bin/ || exit; done

.PHONY: lab
lab: ## build and cache what the lab runs: control plane, etcd, Velero, S3, OS tree (first time: about 20 minutes)
	@CGO_ENABLED=0 $(GO) run ./test/lab/cmd/prepare

.PHONY: demo
demo: lab ## a whole upgrade on real parts, live; ARGS="--fail=restore" or ARGS=--keep
	@CGO_ENABLED=0 $(GO) run ./test/lab/cmd/demo $(ARGS)

.PHONY: test
test: compiler lab ## every test, with race detector and shuffled order
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 30m ./... $(HEAP)
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -tags=$(TAGS),faultinject ./node-executor/fault

# The race detector needs a C compiler, and certificates are judged by openssl as well.
.PHONY: compiler
compiler:
	@{ command -v gcc && command -v openssl; } >/dev/null || { echo "installing gcc and openssl with apt-get: about 20 seconds, once"; \
		apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev openssl; }

.PHONY: crash
crash: lab ## kill processes and cut the power at some 35 random moments of twelve upgrades, rollbacks and clean-ups; a quarter of an hour; ARGS="-seed N"
	CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 150m ./test/e2e -run '^Test(Crash|Watchdog)$$' -rounds 12 -slow $(ARGS)

.PHONY: prove
prove: lab ## regenerate a cluster of a single node's size, judged by etcd, an API server and OpenSSL; kill it at forty steps and more
	CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 30m ./node-executor/crypto -run '^(TestProof|TestKilledAtSomeSteps)$$' -full

.PHONY: bench
bench: ## measure, side by side with what users would use instead, as ratios of one run
	CGO_ENABLED=0 $(GO) run ./test/bench $(ARGS)

.PHONY: fuzz
fuzz: ## each fuzz target for half a minute (FUZZTIME=…)
	@$(GO) run ./test/fuzz -time $(or $(FUZZTIME),30s)

.PHONY: generate
generate: ## regenerate what is derived from the Go tables: Triggers, README table, reasons
	CGO_ENABLED=0 $(GO) generate ./...

.PHONY: lint
lint: ## formatting and vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	CGO_ENABLED=0 $(GO) vet ./... $(HEAP)

.PHONY: verify
verify: generate lint ## fail if something generated is stale or not formatted
	git diff --exit-code
