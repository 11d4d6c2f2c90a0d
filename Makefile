# What a developer runs. `make setup` once, then any of the others; each sets up by itself where that is missing.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-fast test-kills soak screenshots test-native test-sanitized test-arm check format bench bench-native

setup: $(READY)

# What builds the package, cmake and ninja included. Not in an environment of pip's own, which is another one each time: so
# the objects of the native engine stay good, for the next `make setup` and for the tests of the wheel.
BUILDERS := 'scikit-build-core>=0.11' 'nanobind>=2.8' 'cmake>=3.26' 'ninja>=1.11'

# Everything for development, in a virtual environment of its own; constraints.txt pins torch. The native engine is built.
$(READY): pyproject.toml constraints.txt $(wildcard native/CMakeLists.txt native/src/*.* native/src/isa/*.h)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(BUILDERS)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]' --constraint constraints.txt
	@touch $(READY)

# Photos classified by the built-in model, then a small network trained from scratch, in about a minute.
demo: $(READY)
	$(BIN)/python demo.py

# Everything that CI runs.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# No network, GPU or data set needed; under a minute.
test-fast: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow and not gpu and not network"

# A training killed 60 times, and 60 times without space on the disk, ends with the same weights; a few minutes.
test-kills: $(READY)
	VERYDEEP_KILLS=60 $(BIN)/python -m pytest tests/train/test_kills.py

# What is promised of the service and of photos that nobody vouches for, at length: three quarters of an hour, alone.
# Rows of benchmarks/results/soak.csv; `make test` runs a little of each.
soak: $(READY)
	VERYDEEP_SOAK=benchmarks/results/soak.csv $(BIN)/python -m pytest -m soak

# The service's page in three widths, light and dark, English and Chinese, as pictures to look at: build/screenshots/.
# Needs the Debian package chromium.
screenshots: $(READY)
	$(BIN)/python docs/screenshots.py

# Every kernel of the native engine against its naive twin, on random shapes; a few minutes.
test-native: build/check-native/check
	build/check-native/check 40

# Where the time of its convolutions goes.
bench-native: build/check-native/check
	build/check-native/steps

# The same under the sanitizers of addresses, undefined behaviour and threads; without AVX-512.
test-sanitized: build/check-address/check build/check-thread/check
	build/check-address/check 4
	build/check-thread/check 1

# The same for 64-bit Arm, emulated: needs the Debian packages g++-aarch64-linux-gnu and qemu-user.
test-arm: build/check-arm/check
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/check-arm/check 2

build/check-address/check: CHECK_OPTIONS = -DVERYDEEP_SANITIZE=address,undefined
build/check-thread/check: CHECK_OPTIONS = -DVERYDEEP_SANITIZE=thread
build/check-arm/check: CHECK_OPTIONS = -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++

build/check-%/check: $(READY) $(wildcard native/CMakeLists.txt native/src/*.* native/src/isa/*.h native/tests/*.cpp)
	$(BIN)/cmake -S native -B $(@D) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DVERYDEEP_CHECK=ON $(CHECK_OPTIONS)
	$(BIN)/cmake --build $(@D)

# Style, types, and the direction of imports.
check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Speed and memory on this machine, beside the rivals of the extra `bench`: rows of benchmarks/results, the tables of the
# README and the roofline. Takes more than an hour, 20 GB of memory and 10 GB on the disk; let nothing else run.
bench: .venv/.rivals
	$(BIN)/python benchmarks/measure.py
	$(BENCH) --architecture D --batches 1,16 --picture docs/pictures/roofline.svg
	$(BENCH) --architecture D --threads 1 --starts 0 --layers
	$(BENCH) imagenette --batches 1,16 $(if $(wildcard $(PHOTOS)),--photos $(PHOTOS))
	$(BIN)/python benchmarks/tables.py

BENCH := $(BIN)/verydeep bench --append benchmarks/results/engines.csv
PHOTOS := ../shared/data/imagenette-144/val

.venv/.rivals: $(READY)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev,bench]' --constraint constraints.txt
	@touch .venv/.rivals
