# The commands of the project. `make demo` and `make test` need nothing but Go and, for what is more than a simulation,
# root or an unprivileged user namespace; what they could not do is said at their end.

GO ?= go
export CGO_ENABLED ?= 0
# Extra arguments for miplab: make demo ARGS='--json --pcap captures'.
ARGS ?=

.PHONY: all build packages demo test quick lint fuzz soak stress interop bench mutants clean

all: build

# The programs, next to each other in bin/, where miplab looks for the others.
build:
	$(GO) build -trimpath -o bin/ ./cmd/...

# Packages for Debian and its kin, for Fedora and its kin, extensions for systemd-sysext, and archives of static programs, for both
# architectures, in dist/.
packages:
	$(GO) run ./scripts/packages $(ARGS)

# The main job before one's eyes: one laptop, one address, one session, through every access mode.
demo: build
	bin/miplab demo $(ARGS)

# Everything that is checked before a change lands. Packages are installed where that is allowed; the last lines say
# what passed, what failed and what was skipped, and why.
test:
	$(GO) run ./scripts/check

# What one runs while working: no races, no fuzzing, no third parties.
quick:
	$(GO) vet ./...
	$(GO) test ./...

lint:
	$(GO) run ./scripts/check -only format,vet,vet-darwin,vet-windows,staticcheck

# Ten minutes for each decoder.
fuzz:
	$(GO) run ./scripts/check -only fuzz -fuzz-each 10m

# Ten thousand transitions on the simulated network, and in namespaces every change between any two of the eight modes and two
# hundred others, with their counts: nothing may leak. Then a
# hundred under full load, on wires of both kinds: no octet may differ.
# SOAK="-seed 17 -walks 1 -transitions 100 -story" takes one walk again, with all that happens in it.
SOAK ?= -transitions 10000
soak: build
	$(GO) test ./client/soak -run '^TestSoak$$' -count=1 -v -timeout 2h -args $(SOAK)
	bin/miplab demo --modes all --matrix --dwell 50ms
	bin/miplab soak --transitions 200 $(ARGS)
	bin/miplab soak --load --transitions 50 $(ARGS)
	bin/miplab soak --load --offload --transitions 50 $(ARGS)

# The scenarios over and over, under the race detector.
stress:
	CGO_ENABLED=1 $(GO) test -race -count=20 -timeout 2h ./client/... ./stack/... ./ipsec/... ./mipv4/...

# The whole matrix against IKE implementations that are not ours, printed as a table; then the demo with such a gateway. What
# cannot be had here (no network for Debian's packages, no root) is in the table as skipped, with the reason.
interop: build
	$(GO) run ./scripts/check -only packages
	$(GO) test -c -o bin/interop.test ./ipsec/interop
	cd ipsec/interop && ../../bin/interop.test -test.run '^TestMatrix' -test.timeout 1h -all
	bin/miplab demo --gateway strongswan $(ARGS)

# Figures as ratios on this machine: the lab's, then the packages'.
bench: build
	bin/miplab bench $(ARGS)
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Builds with one rule of the promise taken out must each be caught. ARGS="-list" lists them.
mutants:
	$(GO) run ./scripts/mutants $(ARGS)

clean:
	rm -rf bin captures dist
