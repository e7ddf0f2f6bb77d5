# Two commands: `make run` and `make test`. Each sets up .venv by itself; on Windows or with conda see README.md.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV = .venv/bin/python
# .venv/ready says where .venv was made: a moved or copied one still points to its old place, and is made anew. The shell
# compares, since a folder's name may hold what make or a second look would read as its own: " ` $ and the like.
ANEW := $(shell { $(VENV) -c '' && test "$$(cat .venv/ready)" = "$$(pwd -P)"; } 2>/dev/null || echo anew)
# One sentence, and first, where nothing can be written.
$(if $(shell test -w . && echo yes),,$(error This folder is read-only: work in a copy of the lab that is your own))

run: .venv/ready      ## all notebooks, in order, and build/lab.html
	@$(VENV) -m labutils run
test: .venv/ready     ## the quick tests, every notebook, ruff
	@$(VENV) -m labutils test
thorough: .venv/ready ## the tests that take long: each notebook twice, killed trainings, a browser
	@$(VENV) -m labutils test --thorough
lab: .venv/ready      ## JupyterLab on your own copies of the notebooks, in work/
	@$(VENV) -m labutils lab
report: .venv/ready   ## your report, from your runs and answers: report/report.html
	@$(VENV) -m labutils report
handin: .venv/ready   ## one file to hand in, and what is missing in it
	@$(VENV) -m labutils handin
study: .venv/ready    ## the shipped study anew, into runs/study; says first how long it takes
	@$(VENV) -m labutils study
bench: .venv/ready    ## the loop here beside the plain one: benchmarks/results/
	@$(VENV) benchmarks/bench.py

# Keeps what was installed into .venv before, such as a CPU build of torch.
.venv/ready: pyproject.toml $(ANEW)
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "The lab needs Python 3.11" \
		"or newer; python3 is $$(python3 --version 2>&1). Install one, or name it: make run PYTHON=python3.12"; exit 1; }
	@test ! -e .venv/ready || test "$$(cat .venv/ready)" = "$$(pwd -P)" || rm -rf .venv
	@$(VENV) -m pip --version >/dev/null 2>&1 || $(VENV) -m ensurepip >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
		{ $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(VENV) install pip; }
	@echo "Installing the lab into .venv: some minutes the first time, PyTorch is large."
	$(VENV) -m pip install --editable ".[test]"
	@pwd -P >.venv/ready

.PHONY: run test thorough lab report handin study bench anew
