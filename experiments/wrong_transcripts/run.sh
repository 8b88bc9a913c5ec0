#!/usr/bin/env bash
# Swaps 5 % of the transcripts, trains on them, ranks all transcripts by the model, and scores the ranking.
#   PYTHON=.venv/bin/python experiments/wrong_transcripts/run.sh DIGITS WORK
# DIGITS is the folder of digit strings (audio/ and utterances.tsv).
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
mkdir -p "$2"
here=$(realpath "$(dirname "$0")")
root=${here%/experiments/wrong_transcripts}
cd "$2" # options then hold relative paths
export PYTHONPATH=$root KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
ln -sfn "$root/experiments/card_in_small/starts" starts
cp "$root/experiments/card_in_small/study.tsv" .
"$python" "$here/swap.py" digits study.tsv swapped
# shellcheck disable=SC2046
"$python" -m khasr.train $(cat "$root/experiments/card_in_small/common.txt") data.split=./study.tsv \
    data.root=swapped model.name=small model.checkpoint=starts/small optimizer.lr=1.4e-2 schedule.warmup=0.25 trainer.max_steps=300 \
    trainer.val_every_steps=100 seed=1 hydra.run.dir=wrong
"$python" -m khasr.prepare run=wrong hydra.run.dir=ranked
"$python" "$here/score.py" ranked/transcripts.tsv swapped/swapped.tsv
