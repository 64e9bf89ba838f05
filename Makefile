PYTHON ?= python3
PROJECT = {{cookiecutter.project_name}}
BAKED = build/my-torch-project
# Absolute, as the recipes also run inside the baked project
BIN = $(CURDIR)/.venv/bin
# Small models on busy cores lose more than they win by a second thread
export OMP_NUM_THREADS ?= 1

.PHONY: demo test fast lint gpu clean

demo: .venv/installed  # bake with the defaults, train, evaluate on held-out digits
	rm -rf build
	"$(BIN)/cookiecutter" . --no-input --config-file cookiecutter.yaml --output-dir build
	cd $(BAKED) && "$(BIN)/python" train.py -c config.json
	cd $(BAKED) && "$(BIN)/python" test.py -r saved/*/*/model_best.pth
	@echo "The project is in $(BAKED)"

test: .venv/installed  # all tests
	"$(BIN)/python" -m pytest -n auto --dist worksteal

fast: .venv/installed  # the tests that take seconds
	"$(BIN)/python" -m pytest -n auto --dist worksteal -m "not slow"

lint: .venv/installed
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

gpu:  # costs and correctness on a GPU; the projects come from build/gpu, or are baked
	$(PYTHON) benchmarks/gpu.py

clean:
	rm -rf .venv build

.venv/installed: requirements-dev.txt constraints.txt $(PROJECT)/requirements.txt
	$(PYTHON) -m venv .venv
	"$(BIN)/python" -m pip install -c constraints.txt -r requirements-dev.txt -r "$(PROJECT)/requirements.txt"
	touch $@
