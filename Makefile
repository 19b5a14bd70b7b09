# The words a person tries first. `make help` lists them.

PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)

.DEFAULT_GOAL := release
.PHONY: release run test sim soak bench bench-seeds bench-lanes bench-programs install deb deps \
	deps-when-missing format clean help

release: ## build build/release/ringloop
	@for tool in cmake ninja g++; do command -v $$tool >/dev/null || \
		{ echo "ringloop: $$tool is missing; make deps installs what the build needs" >&2; exit 1; }; \
	done
	@mkdir -p build
	@cmake --preset release >build/.configure.log 2>&1 || { cat build/.configure.log; exit 1; }
	@cmake --build --preset release -j $(JOBS)

run: deps-when-missing release ## attach an image, format, mount, write, check and detach it
	@tests/demo.sh

test: deps-when-missing ## build and run every test; TEST_ARGS="--only unit -k plug" for a part
	@tests/run.py $(TEST_ARGS)

sim: deps-when-missing release ## run the server on a simulated kernel; SIM_ARGS="--minutes 5"
	@build/release/ringloop-sim $(if $(SIM_ARGS),$(SIM_ARGS),--minutes 1)

soak: deps-when-missing release ## load a device for an hour, killing it; SOAK_ARGS="--minutes 5"
	@tests/soak/soak.py $(SOAK_ARGS)

bench: deps-when-missing bench-programs ## measure against fio, NBD servers, the kernel's driver
	@bench/in_process.py $(IN_PROCESS_BENCH_ARGS)
	@bench/nbd.py $(NBD_BENCH_ARGS)
	@bench/run.py $(BENCH_ARGS)

bench-seeds: deps-when-missing release ## measure every policy on the workloads it comes from
	@bench/seeds.py $(SEEDS_BENCH_ARGS)

bench-lanes: deps-when-missing release ## measure what charging the issuing cgroup costs and gives
	@bench/lanes.py $(LANES_BENCH_ARGS)

bench-programs: release
	@cmake --build --preset release -j $(JOBS) --target native_benchmarks

install: release ## install below $(DESTDIR)$(PREFIX)
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

deb: release ## build/deb/ringloop_*.deb, a Debian package
	@packaging/deb.sh

deps: ## install the Debian packages that are missing
	@tools/deps.sh

deps-when-missing:
	@tools/deps.sh

format: ## rewrite the C++ files in the project's format
	@git ls-files --cached --others --exclude-standard '*.h' '*.cc' | \
		xargs -r clang-format-19 -i

clean: ## remove everything that was built
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /  make \1\t/p' Makefile | expand -t 21
