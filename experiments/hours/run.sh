#!/usr/bin/env bash
# Trains the sizes of the curve, and reports with the largest size held out and with all of them.
#   PYTHON=.venv/bin/python experiments/hours/run.sh DIGITS WORK
# DIGITS is the folder of digit strings (audio/ and utterances.tsv); WORK keeps the runs between calls.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
mkdir -p "$2"
here=$(realpath "$(dirname "$0")")
root=${here%/experiments/hours}
cd "$2" # options then hold relative paths
export PYTHONPATH=$root KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
study=$root/experiments/card_in_small
ln -sfn "$study/known_speakers/starts" starts
cp "$study/known_speakers/study.tsv" .
# shellcheck disable=SC2046
"$python" -m khasr.train -m $(cat "$study/common.txt") data.split=./study.tsv model.name=small model.checkpoint=starts/small \
    model.head_start=blank optimizer.lr=4e-3 schedule.warmup=0.25 trainer.max_steps=300 trainer.val_every_steps=100 \
    seed=1,2,3 data.train_hours=0.032,0.064,0.128,0.256 hydra.sweep.dir=runs
mkdir -p fitted
for run in runs/*train_hours-0.032* runs/*train_hours-0.064* runs/*train_hours-0.128*; do
    ln -sfn "$(realpath "$run")" "fitted/$(basename "$run")"
done
"$python" -m khasr.report fitted/* --out held_out --more-hours 0.128 --no-audio
"$python" -m khasr.report runs --out all --no-audio
