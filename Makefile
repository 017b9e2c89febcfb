# make book    build the site into _build/html
# make test    run everything
# make serve   open the site on localhost        make lab    open the chapters in JupyterLab
# make clean   remove everything that was made
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PORT   ?= 8000
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: book test lint serve lab chapters clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -4

# The environment is complete when this file exists; an interrupted install is taken up again.
$(VENV)/.complete: requirements.txt requirements-peers.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"advlab needs Python 3.11 or newer, and $(PYTHON) is {v}. Name another: make PYTHON=python3.12 book")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements.txt setuptools
	$(PIP) install --quiet --no-deps -r requirements-peers.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# The students' notebooks come first: every chapter's page offers its own for download.
book: $(VENV)/.complete
	$(BIN)/advlab release book --to _build/extra/workshop --force
	$(BIN)/jupyter-book build . -W --keep-going -n --quiet
	@echo "The book is built. Open $(CURDIR)/_build/html/index.html, or run: make serve"

lint: $(VENV)/.complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Two workers, one torch thread each: a whole file goes to one worker, so a chapter keeps its kernel.
test: lint book
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval-lax --numprocesses 2 --dist loadfile

serve: book
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(VENV)/.complete
	$(BIN)/jupyter lab book

# Run every chapter and store its outputs (after a change of text, code or weights).
chapters: $(VENV)/.complete
	$(BIN)/advlab execute book

clean:
	rm -rf $(VENV) _build build workshop *.egg-info .pytest_cache .hypothesis
	find . \( -name __pycache__ -o -name .ruff_cache -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
