# make            build ./procdump, one static binary
# make check      what must hold before a commit: format, vet, lint, layers, other platforms
# make test       every test (installs what they need; debuggers among it)
# make test-all   check, every test with its long form, and fuzzing
# make bench      measure against gcore, the kernel and the machine's limit
# make install    into $(DESTDIR)$(PREFIX)

GO       ?= go
PREFIX   ?= /usr/local
CACHE    := $(CURDIR)/.cache
LDFLAGS  := -s -w
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

STATICCHECK_VERSION := v0.8.2
STATICCHECK         := $(CACHE)/bin/staticcheck-$(STATICCHECK_VERSION)

# Seconds that each fuzz target of importance runs in test-all.
FUZZTIME ?= 120
# Packages under test: make test PKGS=./cli
PKGS     ?= ./...

export CGO_ENABLED := 0

.PHONY: all check format vet lint layers platforms test test-all test-long fuzz bench clean install deps
all: procdump

# The program for the crash kernel is built first: procdump has it inside.
.PHONY: procdump
procdump:
	$(GO) generate ./kernel/arm
	$(BUILD) -o $@ ./cmd/procdump

check: format vet lint layers platforms

format:
	@files=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi

vet:
	$(GO) vet ./...

lint: $(STATICCHECK)
	$(STATICCHECK) ./...

$(STATICCHECK):
	GOBIN=$(CACHE)/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	mv $(CACHE)/bin/staticcheck $@

layers:
	$(GO) test -count=1 -run 'TestLayer|TestPackage' .

# vet compiles the tests too.
platforms:
	GOOS=windows GOARCH=amd64 $(GO) vet ./...
	GOOS=linux GOARCH=arm64 $(GO) vet ./...
	GOOS=windows GOARCH=arm64 $(GO) build ./...
	$(GO) vet -tags nointerp ./interp ./cli ./e2e

deps:
	scripts/install-test-deps

# PROCDUMP_REQUIRE=all: a test that lacks a tool fails instead of being skipped.
test: deps
	PROCDUMP_REQUIRE=all $(GO) test -timeout 20m $(PKGS)

test-long:
	scripts/install-test-deps --long
	PROCDUMP_REQUIRE=all PROCDUMP_LONG=1 $(GO) test -count=1 -timeout 55m $(PKGS)

test-all: check test-long fuzz

fuzz:
	FUZZTIME=$(FUZZTIME) scripts/fuzz

bench: procdump deps
	$(GO) run ./bench

install: procdump
	install -D -m 0755 procdump $(DESTDIR)$(PREFIX)/bin/procdump
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	./procdump --man > $(DESTDIR)$(PREFIX)/share/man/man1/procdump.1

clean:
	rm -rf procdump .cache
