# Two commands: `make run` and `make test`. Each sets up .venv by itself; on Windows or in conda see README.md.
PYTHON ?= python3
LAB = .venv/bin/python -m labutils

run: .venv/ready      ## all notebooks, in order, and build/report.html
	$(LAB) run
test: .venv/ready     ## unit tests, every notebook, ruff
	$(LAB) test
lab: .venv/ready      ## JupyterLab on the first notebook
	.venv/bin/jupyter lab notebooks/01_theory.ipynb
bench: .venv/ready    ## the loop here beside the plain one: benchmarks/results/
	.venv/bin/python benchmarks/bench.py

.venv/ready: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable ".[test]"
	touch .venv/ready

.PHONY: run test lab bench
