# Every target sets up what it needs in .venv from requirements.lock; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_ENV := AMENT_PREFIX_PATH=$(abspath $(VENV))
# Tests at a time; files stay whole, since what they prepare is shared within.
TEST_JOBS ?= 2
PYTEST = $(RUN_ENV) $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

.PHONY: help demo test test-all lint lock bench-kitti bench-husky bench-node bench-loading bench-world bench-systems bench-redkitchen bench-redkitchen-node bench-hall bench-crossvit bench-engines bench-gpu bench-place-index clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

# A stamp file a profile, so that a second `make` starts at once and a changed lock reinstalls.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "geoloc needs Python 3.10-3.12; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'pip>=23' 'setuptools>=64' wheel

$(VENV)/.demo: requirements.lock setup.py | $(BIN)/python
	@echo "Installing geoloc, ROS 2 Jazzy and the renderer into $(VENV) (no torch) ..."
	$(PIP) install --constraint requirements.lock --editable '.[ros,sim,viz,onnx]'
	@touch $@

$(VENV)/.test: requirements.lock setup.py $(VENV)/.demo | $(BIN)/python
	@echo "Installing what the tests need into $(VENV) ..."
	$(PIP) install --constraint requirements.lock --editable '.[ros,sim,viz,onnx,trt,train,places,test]'
	@touch $@

$(VENV)/.all: requirements.lock setup.py $(VENV)/.test | $(BIN)/python
	@echo "Installing learned features and further backbones into $(VENV) ..."
	$(PIP) install --constraint requirements.lock --editable '.[xfeat,backbones]'
	@touch $@

demo: $(VENV)/.demo  ## Render a drive, run the real node on it, score it, write out/demo/report.html
	$(RUN_ENV) $(BIN)/geoloc demo --out out/demo $(DEMO_ARGS)

test: $(VENV)/.test  ## The quick suite, lint, types and import rules
	$(PYTEST) -m 'not slow' $(TEST_ARGS)

test-all: $(VENV)/.all  ## Everything, the slow tests too
	$(PYTEST) $(TEST_ARGS)

lint: $(VENV)/.test  ## ruff, mypy and import-linter alone
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench-kitti: $(VENV)/.test  ## KITTI drive 0013: offline, far map, live node (needs GEOLOC_DATA)
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.kitti

bench-husky: $(VENV)/.test  ## Husky bag with GNSS hidden for 30 s and 60 s (needs GEOLOC_DATA)
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.husky

bench-node: $(VENV)/.test  ## Node overhead, lost frames on the wire, map crops
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.node

bench-loading: $(VENV)/.test  ## Samples a second that the loader gives, from files and from its cache
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.loading

bench-world: $(VENV)/.test  ## Panoramas a second, and a rendered data set of 2,000 pairs
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.world

bench-systems: $(VENV)/.test  ## Time a frame of all cross-view systems, eager and exported
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.systems $(BENCH_ARGS)

bench-engines: $(VENV)/.test  ## Checkpoint to milliseconds: eager, tuned, exported, int8, TensorRT-RTX, the node
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.engines $(BENCH_ARGS)

bench-gpu: $(VENV)/.test  ## All systems on the GPU at hand: build, compare, time; skips where there is none
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.gpu $(BENCH_ARGS)

bench-redkitchen: $(VENV)/.all  ## Localization in a real kitchen, RGB-D and colour alone (needs GEOLOC_DATA)
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.redkitchen $(BENCH_ARGS)

bench-redkitchen-node: $(VENV)/.test  ## The same from a bag: offline, and through the live node at two speeds (needs GEOLOC_DATA)
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.redkitchen_node $(BENCH_ARGS)

bench-hall: $(VENV)/.test  ## A drive from a street into a hall: aerial map outside, place map inside
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.street_to_hall $(BENCH_ARGS)

bench-place-index: $(VENV)/.test  ## The most similar keyframes: exact search against FAISS
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.place_index

bench-crossvit: $(VENV)/.test  ## Descriptors of places in rendered rooms and streets: teachers, students, VLAD (hours)
	$(RUN_ENV) $(BIN)/python -m tests.benchmarks.crossvit $(BENCH_ARGS)

lock:  ## Resolve requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.10 setup.py --all-extras \
	  --no-emit-index-url --no-annotate --no-header -o requirements.lock

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) out build install log .pytest_cache .mypy_cache .ruff_cache *.egg-info
