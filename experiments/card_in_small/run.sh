#!/usr/bin/env bash
# Runs the study, or continues it: A and B with all seeds, then what PROTOCOL.md says.
#   PYTHON=.venv/bin/python experiments/card_in_small/run.sh DIGITS WORK [--max-hours 2]
# DIGITS is the folder of digit strings (audio/ and utterances.tsv); WORK keeps the runs between calls.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
work=$2
shift 2
here=$(realpath "$(dirname "$0")")
mkdir -p "$work"
cd "$work" # options then hold relative paths
export PYTHONPATH=${here%/experiments/card_in_small} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
ln -sfn "$here/starts" starts
cp "$here/study.tsv" .
if [ -f why/explain.json ]; then
    exec "$python" -m khasr.explain why --jobs 2 "$@"
fi
common="$(tr '\n' ' ' <"$here/common.txt") data.split=./study.tsv"
a="model.name=small model.checkpoint=starts/small optimizer.lr=1.4e-2 schedule.warmup=0.25 trainer.max_steps=600 trainer.val_every_steps=200"
b="model.name=large model.checkpoint=starts/large optimizer.lr=2.8e-3 schedule.warmup=0.365 trainer.max_steps=900 trainer.val_every_steps=300"
exec "$python" -m khasr.explain "$common $a" "$common $b" --out why --seeds 6 --jobs 2 \
    --group length=trainer.max_steps,trainer.val_every_steps "$@"
