#!/usr/bin/env bash
# Trains the sizes of the curve, and reports with the two largest sizes held out and with all of them.
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
ln -sfn "$root/experiments/card_in_small/starts" starts
cp "$root/experiments/card_in_small/study.tsv" .
# shellcheck disable=SC2046
"$python" -m khasr.train -m $(cat "$root/experiments/card_in_small/common.txt") data.split=./study.tsv \
    model.name=small model.checkpoint=starts/small optimizer.lr=1.4e-2 schedule.warmup=0.25 trainer.max_steps=300 \
    trainer.val_every_steps=100 seed=1,2,3 data.train_hours=0.0125,0.025,0.05,0.1,0.2 hydra.sweep.dir=runs
mkdir -p fitted
for run in runs/*train_hours-0.0125* runs/*train_hours-0.025* runs/*train_hours-0.05*; do
    ln -sfn "$(realpath "$run")" "fitted/$(basename "$run")"
done
"$python" -m khasr.report fitted/* --out held_out --more-hours 0.05 --no-audio
"$python" -m khasr.report runs --out all --no-audio
