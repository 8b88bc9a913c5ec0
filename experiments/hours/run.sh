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
ln -sfn "$root/experiments/card_in_small/starts" starts
cp "$root/experiments/card_in_small/study.tsv" .
"$python" -m khasr.train -m data=folder data.root=digits data.split=./study.tsv data.batch_size=8 data.eval_batch_size=50 \
    "data.augment.speed=[0.85,0.92,1.0,1.08,1.15]" \
    model=tiny model.init=pretrained model.head=new model.name=small model.checkpoint=starts/small \
    finetune=feature_encoder_frozen precision=fp32 model.hidden_dropout=0 model.final_dropout=0 model.activation_dropout=0 \
    model.mask_time_prob=0.05 model.mask_feature_prob=0 optimizer.lr=1.4e-2 schedule.warmup=0.25 \
    trainer.accumulate_grad_batches=1 trainer.max_steps=300 trainer.val_every_steps=100 trainer.log_every_steps=50 \
    trainer.progress_bar=false seed=1,2 data.train_hours=0.0125,0.025,0.05,0.1 hydra.sweep.dir=runs
mkdir -p fitted
for run in runs/*train_hours-0.0125* runs/*train_hours-0.025* runs/*train_hours-0.05*; do
    ln -sfn "$(realpath "$run")" "fitted/$(basename "$run")"
done
"$python" -m khasr.report fitted/* --out held_out --more-hours 0.05 --no-audio
"$python" -m khasr.report runs --out all --no-audio
