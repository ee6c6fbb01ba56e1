# Everything happens in a virtual environment inside the checkout (.venv); nothing is installed anywhere else.
# Needs: git, make, python3 >= 3.11 with its venv module. Choose an interpreter with: make PYTHON=python3.12 run

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-system test-hil test-monkey lint types bench bench-features bench-lidar train clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.installed-run ## the demo: a real recording, live (make run ARGS="--seconds 20")
	@$(BIN)/edge demo $(ARGS)

# One process for each core, whole files to each: most tests wait for processes they started. ARGS="-n 0" is one after the other.
test: $(VENV)/.installed-dev ## all tests (make test ARGS="-k gate")
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-system: $(VENV)/.installed-dev ## the service under a real systemd in a container (root; needs debootstrap, systemd-container)
	@$(BIN)/python -m pytest tests/system/booted.py $(ARGS)

test-hil: $(VENV)/.installed-dev ## the firmware's closed loops alone (make test-hil ARGS="--hil-board serial:/dev/ttyACM0")
	@$(BIN)/python -m pytest tests/hil tests/bridge/test_firmware.py -m hil $(ARGS)

test-monkey: $(VENV)/.installed-dev ## a seeded monkey at a real daemon and broker (make test-monkey ARGS="--seconds 600 --seed 7")
	@$(BIN)/python -m tests.system.monkey $(ARGS)

lint: $(VENV)/.installed-dev ## style, format, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(VENV)/.installed-dev ## mypy --strict
	@$(BIN)/mypy

bench: $(VENV)/.installed-dev ## side by side with C and with plain Python (needs mosquitto, libmosquitto-dev, gcc)
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-features: $(VENV)/.installed-bench ## features side by side with River, bottleneck, numbagg, pandas, polars
	@$(BIN)/python -W ignore benchmarks/features/run.py $(ARGS)

bench-lidar: $(VENV)/.installed-bench ## scans side by side with Open3D and small_gicp (needs libusb-1.0-0 libgl1 libgomp1 libegl1)
	@$(BIN)/python -W ignore benchmarks/lidar/run.py $(ARGS)

train: $(VENV)/.installed-train ## train the activity-watch model again from its source data
	@$(BIN)/python models/activity-watch/train.py $(ARGS)

clean: ## remove the virtual environment and everything generated
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .system build dist out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp files are older than pyproject.toml and constraints.txt when either changed: then, and only then, pip runs again.
# constraints.txt also holds for the packages that pip needs to build this one (PIP_CONSTRAINT reaches the build environment).
# Without --no-compile pip compiles every module of every package, most of which are never imported: 18 s of 52 s.
INSTALL = PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --no-compile

$(VENV)/.installed-run: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing what running needs into $(VENV), and compiling the kernels meanwhile (once, one to two minutes) ..."
	@$(INSTALL) numba numpy && { $(BIN)/python -c 'import edge.kernels.window, edge.kernels.clean, edge.kernels.resample, edge.kernels.admit, edge.kernels.histogram' >/dev/null 2>&1 & \
		$(INSTALL) --editable '.[demo]'; installed=$$?; wait; exit $$installed; }
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing what development needs into $(VENV) (once, up to two minutes) ..."
	@$(INSTALL) --editable '.[demo,dev]'
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-bench: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing what the benchmarks of features and scans need into $(VENV) (once, up to five minutes) ..."
	@$(INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-train: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing what training needs into $(VENV) (once, up to two minutes) ..."
	@$(INSTALL) --editable '.[train]'
	@touch $@

# An interpreter is only taken when it really runs, is new enough and can make a virtual environment.
# Version managers leave names such as python3.12 on the PATH that do not run.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

$(VENV)/.created:
	@if [ -z "$(PYTHON)" ]; then \
		if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "python3 is new enough, but its venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv"; \
		else \
			echo "no Python >= 3.11 found. On Debian 12, Ubuntu 24.04 and newer: sudo apt-get install python3 python3-venv"; \
		fi; \
		echo "or name another interpreter: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; \
	fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is not a Python >= 3.11"; exit 1; }
	@echo "making a virtual environment in $(VENV) with $(PYTHON) ..."
	@"$(PYTHON)" -m venv $(VENV) || { echo "no virtual environment could be made; on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@touch $@
