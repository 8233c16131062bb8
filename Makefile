# Everything a newcomer needs: `make demo` and `make test` set up what is missing by themselves.
PYTHON ?= python3.11
DEMO_ROOT ?= demo_data
DEMO_RUNS ?= runs/demo

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-vsp test test-fast lint install clean

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-video.txt requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or call make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(INSTALLED)  ## train and evaluate ASR, VSR and AVSR on the demo corpus (about 9 minutes on two cores)
	$(PY) -m llama_avsr.demo --root-dir $(DEMO_ROOT) --exp-dir $(DEMO_RUNS)

demo-vsp: $(INSTALLED)  ## recognise and translate with one model, as VSP-LLM (about 9 minutes on two cores)
	$(PY) -m llama_avsr.demo_vsp --root-dir $(DEMO_ROOT) --exp-dir $(DEMO_RUNS)_vsp

test: $(INSTALLED)  ## all tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED)  ## without the end-to-end runs
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

clean:
	rm -rf $(VENV) $(DEMO_ROOT) $(DEMO_RUNS) $(DEMO_RUNS)_vsp
