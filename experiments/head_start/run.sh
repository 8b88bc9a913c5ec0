#!/usr/bin/env bash
# Sixty updates of 12 seeds for each start of the head, in the regimes of two protocols of ../card_in_small:
#   PYTHON=.venv/bin/python experiments/head_start/run.sh DIGITS WORK
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
study=$(realpath "$(dirname "$0")/../card_in_small")
mkdir -p "$2"
cd "$2"
export PYTHONPATH=${study%/experiments/card_in_small} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
# The lr at the end is that of the protocol's run after 60 updates of its warm-up.
for regime in "first $study 5.6e-3" "known_speakers $study/known_speakers 1.2e-3"; do
    read -r name data lr <<<"$regime"
    # shellcheck disable=SC2046
    "$python" -m khasr.train -m $(cat "$study/common.txt") "data.split=$data/study.tsv" model.name=small \
        "model.checkpoint=$data/starts/small" "optimizer.lr=$lr" schedule.warmup=59 trainer.max_steps=60 trainer.val_every_steps=60 \
        model.head_start=random,zero,blank "seed=$(seq -s, 2001 2012)" "hydra.sweep.dir=$name"
done
