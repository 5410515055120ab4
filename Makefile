# Everything runs from a virtual environment in $(VENV), which the first command makes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A file at a time and core: one thread each is worth more than many threads for one test.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: help demo demo-detection test test-full test-gpu check format setup setup-test clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 17

demo: setup  ## train and evaluate UperNet on generated scenes, draw its predictions
	@tools/demo.sh $(BIN)

demo-detection: setup  ## the same with Mask R-CNN
	@tools/demo.sh $(BIN) mask_rcnn_convnext_atto_shapes

test: setup-test  ## the tests (at most 12 minutes on two cores)
	$(PYTEST)

test-full: setup-test  ## all tests that need no GPU, the long ones too
	$(PYTEST) -m "not gpu" --timeout 3600

test-gpu: setup-test  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: setup-test  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup-test  ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.ready  ## make the environment

setup-test: $(VENV)/.ready-dev

# A stamp is written last, after a check that the libraries load: an interrupted set-up has none, and the
# next call goes through the steps again.
$(VENV)/.ready: setup.py pyproject.toml constraints.txt .ci/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup.sh .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup.sh ".[dev]"
	@touch $@

clean:  ## remove the environment and caches (not data, not work_dirs)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
