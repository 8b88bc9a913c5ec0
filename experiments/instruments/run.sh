#!/usr/bin/env bash
# Trains the two runs of this folder; writes their output, results and metrics to results/, and their pictures here.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python || command -v python3)}")
cd "$(dirname "$0")"
mkdir -p results
run() {
    local name=$1
    shift
    rm -rf "runs/$name"
    "$python" -m khasr.train experiment=quickstart seed=1 trainer.max_epochs=10 score_test=false hydra.run.dir="runs/$name" "$@" | sed "s|$PWD/||" >"results/$name.txt"
    cp "runs/$name/results.json" "results/$name.json"
    cp "runs/$name/metrics.csv" "results/$name.csv"
    cp "runs/$name/learning_curve.png" "$name.png"
}
# Warm-up longer than the run, which has 1,220 steps, and a peak lr of 1e-6.
run fails optimizer.lr=1e-6 schedule.warmup=4000
run works
