# The front door: every command of the README is a target here. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
PRESET ?= release
LAB ?= tests/lab/lab.sh

.PHONY: help build deps test unit e2e e2e-full fuzz vm-test check lab lab-up lab-shell lab-down simulate install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and testing need (Debian 12; root or sudo)
	@scripts/deps.sh

# $(call build_target,TARGETS...): see CMakeLists.txt for what each of them is.
build_target = (test -f build/cmake/build.ninja || cmake --preset $(PRESET)) && \
	cmake --build build/cmake --parallel $(JOBS) --target $(1)

build: deps ## the executables, under build/
	@$(call build_target,executables)

test: deps ## unit tests, fuzzers for seconds, and the end-to-end suite but for what waits for minutes (make e2e-full)
	@$(call build_target,test_programs)
	@scripts/deps.sh --fuzz || true # what is missing is a skip with its reason
	@scripts/deps.sh --browser || true # likewise
	@scripts/deps.sh --ha || true # likewise
	@scripts/deps.sh --metrics || true # likewise
	@tests/run_all.py

unit: deps ## unit tests alone
	@$(call build_target,test_programs)
	@tests/run_all.py --unit

e2e: deps ## the end-to-end suite alone (E2E_ARGS="--only WORD --family 6" chooses)
	@$(call build_target,e2e_programs)
	@tests/run_all.py --e2e $(E2E_ARGS)

e2e-full: deps ## the end-to-end suite with the cases that wait for minutes, which make test leaves out (80 minutes at most)
	@$(call build_target,e2e_programs)
	@tests/run_all.py --e2e --full $(E2E_ARGS)

fuzz: ## each fuzzer for a minute (FUZZ_SECONDS=10; FUZZ_ONLY=yaml: one of them)
	@scripts/deps.sh --fuzz
	@tests/fuzz/run.py --seconds $(or $(FUZZ_SECONDS),60) $(if $(FUZZ_ONLY),--only $(FUZZ_ONLY))

vm-test: deps ## the Vagrant lab's boxes and netem on Debian's kernel, in virtual machines (VM_ARGS=boxes: a part)
	@$(call build_target,e2e_programs)
	@tests/vm/run.sh $(VM_ARGS)

check: ## format, include rule, both compilers, clang-tidy, sanitizers, shellcheck
	@tests/check/check.sh

bench: ## beside direct access and two proxies, in minutes (QUICK=1: fewer; UPDATE_README=1: the figures into README.md)
	@scripts/deps.sh --bench
	@cmake --preset $(PRESET) -DSPLICELB_BENCH=ON >/dev/null
	@cmake --build build/cmake --parallel $(JOBS) --target executables bench_programs
	@tests/bench/run.py $(if $(QUICK),--quick) $(if $(UPDATE_README),--update-readme) $(BENCH_ARGS)

lab: deps ## the whole way of a request, shown on this machine in network namespaces
	@$(call build_target,balancer packetbridge)
	@$(LAB) demo

lab-up: deps ## keep one lab up, to play with
	@$(call build_target,balancer packetbridge)
	@$(LAB) up

lab-shell: ## a shell in the lab: HOST=client (or router, balancer, b1, b2, b3)
	@$(LAB) shell $(or $(HOST),client)

lab-down: ## end what lab-up started
	@$(LAB) down

simulate: ## client, balancer, bridges and backends in virtual time (SEEDS=1000 FROM=1, or SEED=K to repeat one)
	@test -f build/cmake/build.ninja || cmake --preset $(PRESET)
	@cmake --build build/cmake --parallel $(JOBS) --target simulation
	@build/cmake/tests/simulation $(if $(SEED),--seed $(SEED) -v,--from $(or $(FROM),1) --seeds $(or $(SEEDS),1000))

install: build ## executables into $(DESTDIR)$(PREFIX)/sbin, and completion for bash
	@install -d $(DESTDIR)$(PREFIX)/sbin
	@install -C -m 0755 build/balancer build/packetbridge build/splice-hash build/splice-replay \
		build/splicectl tools/splice-hash-plot $(DESTDIR)$(PREFIX)/sbin
	@install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	@install -C -m 0644 tools/completions/splicectl.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/splicectl

clean: ## remove what was built
	@rm -rf build build-*
