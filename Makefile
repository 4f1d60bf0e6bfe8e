# `make test` does everything on a fresh machine that has Go.
GO       ?= go
FUZZTIME ?= 60s
SEEDS    ?= 200
SEED     ?= 0
TOOL     := $(GO) tool -modfile=tools/go.mod
.DEFAULT_GOAL := help

.PHONY: help
help: ## show this
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: build
build: ## build ./bin/orgsync, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/orgsync ./cmd/orgsync

.PHONY: prepare
prepare: ## install what the tests run against; make test does it too
	@GO=$(GO) .ci/prepare

# -race also has the compiler check every unsafe.Pointer. In SQLite, which was
# translated from C and is nothing else, that takes as long as the tests do.
.PHONY: test
test: prepare ## vet, then all tests with the race detector
	$(GO) vet ./...
	$(TOOL) gotestsum --format standard-quiet -- -race -gcflags=modernc.org/...=-d=checkptr=0 -timeout 20m ./...

.PHONY: chaos
chaos: prepare ## random lives, a hostile target and kill -9, by SEEDS (200); SEED=n runs one again
	$(GO) test -timeout 6h -run '^TestChaos$$' ./test/e2e -chaos.seeds $(SEEDS) -chaos.seed $(SEED)

.PHONY: bench
bench: ## benchmarks; xfloor is the ratio to a bare floor of the same run
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (60s)
	@grep -rHoE '^func Fuzz[A-Za-z0-9]+' --include='*_test.go' . | sed 's/:func / /' | while read -r file name; do \
		echo "$$name in $$(dirname $$file)"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$(dirname $$file) || exit 1; \
	done

.PHONY: lint
lint: ## golangci-lint, pinned in tools/go.mod
	$(TOOL) golangci-lint run ./...

.PHONY: cross
cross: ## build for Windows and macOS too, to see that it can be
	for os in windows darwin; do CGO_ENABLED=0 GOOS=$$os $(GO) build -trimpath -o /dev/null ./cmd/orgsync || exit 1; done
