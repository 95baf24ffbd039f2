# make sample: digits from the trained model that comes along. make demo: train it, with bits/dim and a report.
# make test: everything that CI checks. make docs: the documentation in site/.
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo

# The first Python >= 3.11 that can make a virtual environment.
FIND_PYTHON = for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null && echo $$p && exit; done

.PHONY: sample demo test test-slow format docs tables ablations zoo accelerator faults mutants clean

sample: $(VENV)/installed
	$(BIN)/gen-jax sample gated_pixel_cnn_digits --num 64 --out samples.png

demo: $(VENV)/installed
	@$(BIN)/gen-jax data prepare digits >/dev/null
	$(BIN)/gen-jax train experiments/configs/gated_pixel_cnn_digits.py --set evaluate.samples=16 --workdir $(RUN)
	@$(BIN)/gen-jax evaluate $(RUN) > $(RUN)/result.txt
	@$(BIN)/gen-jax sample $(RUN) --num 64 --out $(RUN)/samples.png
	@$(BIN)/gen-jax data export digits --limit 16 --out $(RUN)/test_images.npz
	@$(BIN)/gen-jax complete $(RUN) $(RUN)/test_images.npz --keep top:0.5 --out $(RUN)/completions.png
	@$(BIN)/gen-jax report $(RUN) --out $(RUN)/report.html
	@cat $(RUN)/result.txt

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python experiments/tables.py --check
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed-test $(VENV)/installed-docs
	$(BIN)/pytest -n 2 --dist loadfile -m slow

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

tables: $(VENV)/installed
	$(BIN)/python experiments/tables.py

ablations: $(VENV)/installed
	@$(BIN)/gen-jax data prepare digits >/dev/null
	$(BIN)/python experiments/ablations/run.py

zoo: $(VENV)/installed
	@$(BIN)/gen-jax data prepare digits >/dev/null
	$(BIN)/python experiments/zoo/run.py
	$(BIN)/python experiments/tables.py

# On a machine with an accelerator (pip install of an extra: cuda12, cuda13, tpu): make accelerator ARGS="--data cifar10.npz".
# Without one: make accelerator ARGS=--check.
accelerator: $(VENV)/installed
	$(BIN)/python experiments/accelerator/run.py $(ARGS)

mutants: $(VENV)/installed-test
	$(BIN)/python experiments/mutants/run.py

faults: $(VENV)/installed
	$(BIN)/python experiments/faults/run.py

clean:
	rm -rf $(VENV) build site *.egg-info

$(VENV)/installed: requirements.txt setup.cfg pyproject.toml
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { echo "gen_jax needs Python 3.11 or newer" >&2; exit 2; }; \
	test -x $(BIN)/python || $$python -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
