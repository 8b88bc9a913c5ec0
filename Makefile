# make train: sets up .venv if it is missing, then trains the quickstart.  make test: the same set-up, then the tests.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test lint types gpu-check slurm-check lmplz

train: $(INSTALLED)
	$(BIN)/python -m khasr.train experiment=quickstart

# Two processes with one thread each: threads that wait for one another on busy cores are many times slower. Each begins
# with a half of the files (worksteal), so that the tests of a file share its fixtures.
test: $(INSTALLED) $(BIN)/lmplz
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

gpu-check: $(INSTALLED)
	$(BIN)/python -m experiments.gpu_check.check

# On a Slurm of its own; needs root and: apt-get install --no-install-recommends slurm-wlm munge
slurm-check: $(INSTALLED)
	$(BIN)/python experiments/slurm/check.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# KenLM's lmplz and build_binary, which build language models and are in no wheel. The source package of kenlm-ex needs a
# C++ compiler and a recent cmake, which is installed from its wheel, but not Boost. Two faults of its version 0.2.1 are
# patched: a duplicate -h option, which stops lmplz, and uninitialised options, with which lmplz at random wrote a back-off
# model or the output of --collapse_values, whose probabilities exceed 1.
KENLM := kenlm-ex==0.2.1
CMAKE := cmake>=3.28,<5
lmplz: $(BIN)/lmplz

$(BIN)/lmplz: | $(INSTALLED)
	rm -rf build/kenlm && mkdir -p build/kenlm/source
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-binary kenlm-ex --no-deps --dest build/kenlm '$(KENLM)'
	tar -xzf build/kenlm/*.tar.gz --strip-components 1 -C build/kenlm/source
	sed -i -e 's/CLI::App app{"Language model building options"};/& app.set_help_flag();/' \
	    -e 's/bool verbose_header;/bool verbose_header = false;/' \
	    -e 's/lm::builder::PipelineConfig pipeline;/lm::builder::PipelineConfig pipeline{};/' build/kenlm/source/lm/builder/lmplz_main.cc
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target build/kenlm/cmake '$(CMAKE)'
	PYTHONPATH=build/kenlm/cmake build/kenlm/cmake/bin/cmake -S build/kenlm/source -B build/kenlm/out -DCMAKE_BUILD_TYPE=Release > build/kenlm/log
	PYTHONPATH=build/kenlm/cmake build/kenlm/cmake/bin/cmake --build build/kenlm/out --parallel 2 --target lmplz build_binary >> build/kenlm/log
	install build/kenlm/out/bin/build_binary build/kenlm/out/bin/lmplz $(BIN)

# The stamp is written last, so that an interrupted set-up is repeated and a complete one is not.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[synthetic,tensorboard,bitsandbytes,dev]'
	touch $@
