#!/usr/bin/env bash
# Trains the runs of the table and writes their numbers to results/. DIGITS: a folder for data=folder.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python || command -v python3)}")
cd "$(dirname "$0")"
digits=${DIGITS:-../../../shared/data/digit_strings}
mkdir -p results
run() {
    local name=$1
    shift
    rm -rf "runs/$name"
    "$python" -m khasr.train experiment=quickstart hydra.run.dir="runs/$name" "$@"
    cp "runs/$name/results.json" "results/$name.json"
    cp "runs/$name/metrics.csv" "results/$name.csv"
}
for seed in 1 2 3; do
    run "synthetic_seed$seed" seed=$seed
done
run digits_seed1 seed=1 data=folder data.root="'$digits'"
cp runs/synthetic_seed1/learning_curve.png synthetic_seed1.png
cp runs/digits_seed1/learning_curve.png digits_seed1.png
"$python" table.py results/*.json
