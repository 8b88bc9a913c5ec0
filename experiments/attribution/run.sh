#!/bin/bash
# The numbers of README.md: coverage (a minute), then `khasr.explain` on two recipes for real digits (about 15 minutes).
set -e
cd "$(dirname "$0")/../.."
mkdir -p experiments/attribution/results
python experiments/attribution/coverage.py | tee experiments/attribution/results/coverage.md

: "${DIGITS:?set DIGITS to a folder with utterances.tsv: audio, text, speaker}"
digits="experiment=quickstart data=folder data.root=$DIGITS data.augment.speed=[] score_test=false"
python -m khasr.train $digits trainer.max_steps=500 optimizer.lr=3e-3 hydra.run.dir=runs/first_stage
second="$digits model.checkpoint=runs/first_stage trainer.max_steps=100 trainer.val_every_steps=50"
python -m khasr.explain "$second optimizer.lr=2e-3" "$second optimizer.lr=1e-4 schedule.warmup=0.4" \
    --out runs/why --seeds 3 --jobs 2
