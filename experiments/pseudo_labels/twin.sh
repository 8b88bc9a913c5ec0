#!/usr/bin/env bash
# As run.sh, on the twin of OpenSLR 42 with a fifth of its training part labelled, decoding with a language model:
#   PYTHON=.venv/bin/python experiments/pseudo_labels/twin.sh TWIN SPLIT START TEXT WORK
# TWIN, SPLIT and START are made by card_in_small/starts.sh: twin, start/small/split.tsv and bestrq_small, which has not seen text.
# TEXT is a Khmer text for the language model; WORK keeps the runs between calls.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
twin=$(realpath "$1") split=$(realpath "$2") start=$(realpath "$3") text=$(realpath "$4")
mkdir -p "$5"
here=$(realpath "$(dirname "$0")")
cd "$5" # options then hold relative paths
export PYTHONPATH=${here%/experiments/pseudo_labels} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$twin" twin
ln -sfn "$start" start
cp "$split" split.tsv
common=(model=tiny model.name=small model.init=pretrained model.checkpoint=start model.head=new model.head_start=blank
    finetune=full precision=fp32 optimizer.lr=2e-3 "optimizer.betas=[0.9,0.98]" optimizer.weight_decay=0.01 schedule.warmup=0.1
    data.batch_size=8 "data.augment.speed=[0.9,1.0,1.1]" model.mask_time_prob=0.05 trainer.accumulate_grad_batches=1
    trainer.max_steps=1500 trainer.val_every_steps=500 trainer.log_every_steps=50 trainer.progress_bar=false seed=1)

train() { # FOLDER OPTION...: trains unless the folder has a finished run, then decodes test
    if ! grep -q '"status": "completed"' "$1/results.json" 2> /dev/null; then
        if [ -f "$1/checkpoints/last.ckpt" ]; then
            "$python" -m khasr.train resume="$1"
        else
            "$python" -m khasr.train "${common[@]}" "${@:2}" hydra.run.dir="$1"
        fi
    fi
    # The same language model for all: of TEXT and the labelled transcripts.
    [ -e lm ] || "$python" -m khasr.build_lm "$text" --run labelled --out lm
    for part in val test; do # val first: fits the confidences
        [ -e "scored/$1_$part/evaluation.json" ] ||
            "$python" -m khasr.evaluate run="$1" part=$part decoder=beam_lm decoder.lm=lm hydra.run.dir="scored/$1_$part"
    done
}

train labelled data=openslr_km data.root=twin data.split=./split.tsv data.train_hours=0.4
grep -P '\ttrain$' split.tsv | cut -f1 | grep -vxFf <(grep -P '\ttrain$' labelled/split.tsv | cut -f1) |
    sed 's|.*|twin/km_kh_male/wavs/&.wav|' > unlabelled.txt
teacher=labelled
for round in 1 2; do
    [ -e "labels_$round" ] || xargs -n 10000 -a unlabelled.txt "$python" -m khasr.transcribe "$teacher" --decoder beam_lm --lm lm \
        --to-corpus "labels_$round" --min-confidence "${MIN_CONFIDENCE:-0.6}" | tee "labels_$round.txt"
    train "round_$round" data=mix "data.corpora=[{data:openslr_km,root:twin,split:labelled/split.tsv},{data:folder,root:labels_$round,split:train}]"
    teacher=round_$round
done
train all data=openslr_km data.root=twin data.split=./split.tsv
for run in labelled round_1 round_2 all; do echo "$run=scored/${run}_test/hypotheses.tsv"; done | xargs "$python" "$here/table.py"
for run in labelled round_1 round_2 all; do echo "$run=$run/hypotheses.tsv"; done | xargs "$python" "$here/table.py" # greedy, val
