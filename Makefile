# `make test` does everything on a fresh machine with Go 1.26, Node 20 and a C compiler (for -race).
GO ?= go
.DEFAULT_GOAL := help

.PHONY: help
help: ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: build
build: ## build ./bin/orgsync, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/orgsync ./cmd/orgsync

SCIMMY := test/peers/scimmy

.PHONY: peers
peers: $(SCIMMY)/node_modules/.package-lock.json ## install the servers that tests talk to
	@command -v redis-server >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq redis-server; }

$(SCIMMY)/node_modules/.package-lock.json: $(SCIMMY)/package-lock.json
	cd $(SCIMMY) && npm ci --omit=dev --no-audit --no-fund

.PHONY: test
test: peers ## vet, then all tests with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...

.PHONY: bench
bench: ## benchmarks; xfloor is the ratio to a bare floor of the same run
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./...

.PHONY: fuzz
fuzz: ## each fuzz target for a minute
	$(GO) test -run '^$$' -fuzz FuzzDecode -fuzztime 60s ./marketplace
	$(GO) test -run '^$$' -fuzz FuzzCanonical -fuzztime 60s ./marketplace
	$(GO) test -run '^$$' -fuzz FuzzV1Params -fuzztime 60s ./marketplace
	$(GO) test -run '^$$' -fuzz FuzzBaseCall -fuzztime 60s ./marketplace
	$(GO) test -run '^$$' -fuzz FuzzSensitive -fuzztime 60s ./marketplace

.PHONY: lint
lint: ## golangci-lint, pinned in tools/go.mod
	$(GO) tool -modfile tools/go.mod golangci-lint run ./...
