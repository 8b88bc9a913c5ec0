#!/usr/bin/env bash
# The counts of this folder's table, into results.csv.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python || command -v python3)}")
cd "$(dirname "$0")"
PYTHONPATH=../.. OMP_NUM_THREADS=1 "$python" count.py "$@"
