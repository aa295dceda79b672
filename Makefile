# The course in one command each. Every target sets up what it needs, in .venv,
# and a second run installs nothing again. GNU make and a POSIX shell suffice.
#
# Variables: PYTHON       the Python to build .venv with (3.11 or newer)
#            TORCH_INDEX  where PyTorch comes from, for a build other than the CPU's
#            BENCH        what `make bench` measures

TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BENCH ?= foundation
NBVAL ?= --nbval

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)

# The first is the Python of the reference run; torch supports the others too.
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help lab test test-lax notebooks bench lint fetch install hooks constraints clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

lab: $(VENV)/.installed-lab fetch ## open the course in JupyterLab
	@browser=--no-browser; \
	if [ "$$(uname -s)" = Darwin ] || [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then \
		if $(BIN)/python -c 'import webbrowser; webbrowser.get()' 2>/dev/null; then browser=; fi; \
	fi; \
	if [ -n "$$browser" ]; then echo 'Open the address that is printed below in a browser.'; fi; \
	root=; if [ "$$(id -u)" -eq 0 ]; then root=--allow-root; fi; \
	exec $(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=. $$browser $$root \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: $(VENV)/.installed-test fetch ## prove the whole repository, with the network off
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest tests --doctest-modules longctx_edu
	$(BIN)/python -m pytest $(NBVAL) --nbval-current-env --nbval-cell-timeout=120 notebooks

test-lax: ## the same, comparing only outputs that are equal on all machines
	$(MAKE) test NBVAL=--nbval-lax

notebooks: $(VENV)/.installed-test fetch ## execute all notebooks and save them in canonical form
	$(BIN)/python -m longctx_edu.teaching.notebooks run

bench: $(VENV)/.installed-test fetch ## measure the figures of a bench
	$(BIN)/python -m longctx_edu bench $(BENCH)

lint: $(VENV)/.installed-test ## check style and notebooks without running anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m longctx_edu.teaching.notebooks check

fetch: | $(VENV)/.installed-lab ## fetch the embedded model, once
	$(BIN)/python -m longctx_edu fetch

install: $(VENV)/.installed-test ## install everything and run nothing

hooks: $(VENV)/.installed-test ## let git run the checks before each commit
	$(BIN)/pre-commit install

constraints: $(VENV)/.installed-test ## write the installed versions into constraints.txt
	{ sed -n '/^#/p' constraints.txt; \
	  $(PIP) freeze --all --exclude-editable | sed 's/+cpu$$//' \
	  | LC_ALL=C sort -f; } > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean: ## remove .venv and what running left behind; the fetched model stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find longctx_edu tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +

# The environment. A newer pip installs these packages in half the time.
$(VENV)/.created:
	@for python in $(PYTHONS); do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo 'No Python 3.11 or newer with the venv module was found among: $(PYTHONS).' >&2; \
		echo 'Install one (Debian and Ubuntu: apt-get install python3-venv),' >&2; \
		echo 'or say where it is: make PYTHON=/path/to/python3.12' >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV)
	$(PIP) install -q -c constraints.txt --upgrade pip
	@touch $@

# PyTorch comes first and alone, so that pip does not take the build for CUDA, which is
# gigabytes larger. A wheel at hand (pip's find-links) is taken before the index is asked.
# Without --no-compile installing takes twice as long; see below.
$(VENV)/.torch: constraints.txt | $(VENV)/.created
	@echo 'Installing $(TORCH)'
	@if [ "$$(uname -s)" = Darwin ]; then \
		$(PIP) install -q --no-compile --no-deps '$(TORCH)'; \
	else \
		$(PIP) install -q --no-compile --no-deps --no-index '$(TORCH)' 2>/dev/null || \
		$(PIP) install -q --no-compile --no-deps --index-url $(TORCH_INDEX) '$(TORCH)'; \
	fi
	@touch $@

# Byte code is made in the background, out of the way of what runs next.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/.torch
	@echo 'Installing the course and what it needs for [$*]; this takes a minute or two'
	@$(PIP) install -q --no-compile -c constraints.txt -e '.[$*]'
	@$(BIN)/jupyter labextension disable --level=sys_prefix \
		@jupyterlab/apputils-extension:announcements 2>/dev/null
	@nice $(BIN)/python -m compileall -q $(VENV)/lib >/dev/null 2>&1 </dev/null &
	@touch $@ $(if $(filter test,$*),$(VENV)/.installed-lab)
