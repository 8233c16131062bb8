# Everything a newcomer needs: `make demo` and `make test` set up what is missing by themselves.
# The first of these Pythons that runs; another: make PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$python -c "" 2>/dev/null && { echo $$python; break; }; done)
DEMO_ROOT ?= demo_data
DEMO_RUNS ?= runs/demo
REAL_ROOT ?= real_data
REAL_RUNS ?= runs/real

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-vsp demo-omni real test test-fast lint install lock clean

install: $(INSTALLED)  ## every dependency as constraints.txt pins it, and the project itself, editable

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo "make: found no Python 3.10 or later; install one or call make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r constraints.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)  ## train and evaluate ASR, VSR and AVSR on the demo corpus (about 9 minutes on two cores)
	$(VENV)/bin/llama-avsr demo --root-dir $(DEMO_ROOT) --exp-dir $(DEMO_RUNS)

demo-vsp: $(INSTALLED)  ## recognise and translate with one model, as VSP-LLM (about 9 minutes on two cores)
	$(VENV)/bin/llama-avsr demo translation --root-dir $(DEMO_ROOT) --exp-dir $(DEMO_RUNS)_vsp

demo-omni: $(INSTALLED)  ## one elastic model against three specialists (about 10 minutes on two cores)
	$(VENV)/bin/llama-avsr demo omni --root-dir $(DEMO_ROOT) --exp-dir $(DEMO_RUNS)_omni --specialists $(DEMO_RUNS)

real: $(INSTALLED)  ## real people: GRID_DIR=... [WHISPER=folder] [LLM=folder] [PROTOCOL=unseen-speakers]
	@test -n "$(GRID_DIR)" || { echo "make real: GRID_DIR=/path/to/GRID is missing; docs/grid.md says where it is had"; exit 2; }
	$(VENV)/bin/llama-avsr demo real --grid-dir $(GRID_DIR) --root-dir $(REAL_ROOT) --exp-dir $(REAL_RUNS) \
		$(if $(WHISPER),--audio-encoder-name $(WHISPER)) $(if $(LLM),--llm-model $(LLM)) \
		$(if $(PROTOCOL),--protocol $(PROTOCOL))

test: $(INSTALLED)  ## all tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED)  ## without the end-to-end runs
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lock:  ## write constraints.txt anew from pyproject.toml, keeping the versions it has where they fit; needs uv
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes \
		--no-annotate --no-emit-index-url --custom-compile-command "make lock" --output-file constraints.txt

clean:
	rm -rf $(VENV) $(DEMO_ROOT) $(DEMO_RUNS) $(DEMO_RUNS)_vsp $(DEMO_RUNS)_omni $(REAL_ROOT) $(REAL_RUNS)
