#!/bin/sh
# Repeats README.md: run.sh SHARED, a folder with data/ and tools/. Libraries are compared if they are installed.
set -eu
here=$(dirname "$0") shared=$1 python=${PYTHON:-python} twin=$(mktemp -d)
export OMP_NUM_THREADS=1
"$python" "$here/audit_transcripts.py" "$shared/data/slr42_text/line_index.tsv" hf_seed42
"$python" "$here/segmenters.py" "$shared/data/slr42_text/line_index.tsv"
"$python" "$here/normalisers.py" "$shared/data/slr42_text/line_index.tsv" "$shared/data/lm_text"
"$python" "$shared/tools/slr42_twin.py" "$twin" --zip
unset OMP_NUM_THREADS
"$python" "$here/speed.py" "$twin"
"$python" "$here/speed.py" "$twin/km_kh_male.zip"
"$python" -m pytest -q "$here/../../tests/data/test_bad_input.py"
rm -r "$twin"
