#!/usr/bin/env bash
# Runs the study, or continues it: A and B with all seeds, then what PROTOCOL.md says.
#   PYTHON=.venv/bin/python experiments/card_in_small/run.sh DIGITS WORK [--max-hours 2]
# DIGITS is the folder of digit strings (audio/ and utterances.tsv); WORK keeps the runs between calls. Options that follow are
# those of khasr.explain. The variables below are the first protocol's; known_speakers/run.sh and the sensitivity arms set others.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
work=$2
shift 2
here=$(realpath "$(dirname "$0")")
data=$(realpath "${DATA:-$here}") # the folder of study.tsv and starts/
lr_a=${LR_A:-1.4e-2} lr_b=${LR_B:-2.8e-3}
validation=${VALIDATION:-200} # updates of A between validations, a third of its length
mkdir -p "$work"
cd "$work" # options then hold relative paths
export PYTHONPATH=${here%/experiments/card_in_small} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
ln -sfn "$data/starts" starts
cp "$data/study.tsv" .
if [ -f why/explain.json ]; then
    exec "$python" -m khasr.explain why --jobs 2 "$@"
fi
common="$(tr '\n' ' ' <"$here/common.txt")data.split=./study.tsv${HEAD:+ model.head_start=$HEAD}"
length() { echo "trainer.max_steps=$(($1 * 3)) trainer.val_every_steps=$1"; }
a="model.name=small model.checkpoint=starts/small optimizer.lr=$lr_a schedule.warmup=0.25 $(length "$validation")"
b="model.name=large model.checkpoint=starts/large optimizer.lr=$lr_b schedule.warmup=0.365 $(length $((validation * 3 / 2)))"
exec "$python" -m khasr.explain "$common $a" "$common $b" --out why --seeds 6 --jobs 2 \
    --group "${GROUP:-length=trainer.max_steps,trainer.val_every_steps}" "$@"
