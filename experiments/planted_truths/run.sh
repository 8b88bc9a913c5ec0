#!/usr/bin/env bash
# The tables of README.md, into false_claims.csv and results.csv; continues where it was stopped.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python || command -v python3)}")
cd "$(dirname "$0")"
export PYTHONPATH=../.. OMP_NUM_THREADS=1
"$python" false_claims.py
"$python" count.py
