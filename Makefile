# What a person or a server runs; each target does the set-up it needs (tools/setup.sh), once.
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-environments test-scale setup check format clean
.NOTPARALLEL:

ARGS ?=
PYTHON_IN_VENV := .venv/bin/python
ENVIRONMENT_TESTS := $(addprefix tests/test_,$(addsuffix .py,every_mode observations environments states vector_env))

# The environment's packages alone are used, whatever the user's shell has set.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1

help:  ## this list
	@echo 'usage: make TARGET [ARGS="..."]'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 22

quickstart:  ## sample video to trained policy and a report.html, in minutes (ARGS go to `dexvid quickstart`)
	@tools/setup.sh video
	@.venv/bin/dexvid quickstart $(ARGS)

test:  ## all tests, on all cores (ARGS go to pytest)
	@tools/setup.sh video,view,dev
	@$(PYTHON_IN_VENV) -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

test-environments:  ## those over every environment, observation and control mode, on all cores; says how long they took
	@tools/setup.sh video,view,dev
	@$(PYTHON_IN_VENV) -m pytest -n auto --maxprocesses 8 --dist worksteal $(ENVIRONMENT_TESTS) $(ARGS)

test-scale:  ## those over many jobs at once, with Ray as well (ARGS go to pytest)
	@tools/setup.sh video,scale,dev
	@$(PYTHON_IN_VENV) -m pytest $(wildcard tests/test_scale*.py) $(ARGS)

setup:  ## the set-up alone, with everything the tests need
	@tools/setup.sh video,view,dev

check:  ## style (ruff) and types (pyright)
	@tools/setup.sh video,view,dev
	@$(PYTHON_IN_VENV) -m ruff check
	@$(PYTHON_IN_VENV) -m ruff format --check
	@$(PYTHON_IN_VENV) -m pyright

format:  ## put imports and layout in order
	@tools/setup.sh video,view,dev
	@$(PYTHON_IN_VENV) -m ruff check --fix --select I
	@$(PYTHON_IN_VENV) -m ruff format

clean:  ## remove the virtual environment, caches and build folders
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
