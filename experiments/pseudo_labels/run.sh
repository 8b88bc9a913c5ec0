#!/usr/bin/env bash
# Trains on a labelled part, labels the other recordings with that model, trains on both, and again.
#   PYTHON=.venv/bin/python experiments/pseudo_labels/run.sh DIGITS WORK [SEED]
# DIGITS is the folder of digit strings (audio/ and utterances.tsv); WORK keeps the runs between calls.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
digits=$(realpath "$1")
seed=${3:-1}
mkdir -p "$2"
here=$(realpath "$(dirname "$0")")
root=${here%/experiments/pseudo_labels}
cd "$2" # options then hold relative paths
export PYTHONPATH=$root KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$digits" digits
ln -sfn "$root/experiments/card_in_small/starts" starts
cp "$root/experiments/card_in_small/study.tsv" .
read -ra common <<< "$(tr '\n' ' ' < "$root/experiments/card_in_small/common.txt" | sed 's/data=folder data.root=digits//')"
common+=(model.name=small model.checkpoint=starts/small model.head_start=blank optimizer.lr=1.4e-2 schedule.warmup=0.25 trainer.max_steps=300
    trainer.val_every_steps=100 "seed=$seed")

train() { # FOLDER OPTION...: trains unless the folder has a finished run, and fits confidences on val, in the run's folder
    grep -q '"status": "completed"' "$1/results.json" 2> /dev/null || "$python" -m khasr.train "${common[@]}" "${@:2}" hydra.run.dir="$1"
    [ -e "$1/confidence.json" ] || "$python" -m khasr.evaluate run="$1" part=val hydra.run.dir="scored/$1"
}

# 15 % of the training part with its text; the other recordings of its speakers without.
train "labelled$seed" data=folder data.root=digits data.split=./study.tsv data.train_hours=0.05
grep -P '\ttrain$' study.tsv | cut -f1 | grep -vxFf <(grep -P '\ttrain$' "labelled$seed/split.tsv" | cut -f1) |
    sed 's|.*|digits/&.flac|' > "unlabelled$seed.txt"

teacher=labelled$seed
for round in 1 2; do
    labels=labels${seed}_$round run=round${seed}_$round
    [ -e "$labels" ] || xargs -a "unlabelled$seed.txt" "$python" -m khasr.transcribe "$teacher" --to-corpus "$labels" \
        --min-confidence "${MIN_CONFIDENCE:-0.6}" | tee "$labels.txt"
    train "$run" data=mix "data.corpora=[{data:folder,root:digits,split:labelled$seed/split.tsv},{data:folder,root:$labels,split:train}]"
    teacher=$run
done
train "all$seed" data=folder data.root=digits data.split=./study.tsv
for run in "labelled$seed" "round${seed}_1" "round${seed}_2" "all$seed"; do echo "$run=$run/hypotheses.tsv"; done |
    xargs "$python" "$here/table.py"
