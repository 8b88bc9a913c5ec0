# make train: set up .venv where it is missing, then the first run, end to end.  make test: the same set-up, then the tests.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test lint types gpu-check lmplz

train: $(INSTALLED)
	$(BIN)/python -m khasr.train experiment=quickstart

# Two at a time, with one thread each: two threads that wait for each other beside other work are many times slower.
test: $(INSTALLED) $(BIN)/lmplz
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

gpu-check: $(INSTALLED)
	$(BIN)/python experiments/gpu_check/check.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# KenLM's lmplz and build_binary, which build language models: no wheel holds them. kenlm-ex's source package needs a C++
# compiler and a young cmake, which comes from its own wheel, and no Boost. Faults of its 0.2.1 are mended on the way: two
# -h options, on which lmplz stops, and options that nothing sets (with them lmplz wrote, at random, back-off models or
# what its --collapse_values writes, whose probabilities exceed 1).
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

# The stamp is written last, so that a set-up that was cut short is done again, and one that is whole is left alone.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[synthetic,tensorboard,bitsandbytes,dev]'
	touch $@
