#!/usr/bin/env bash
# The whole study: the twin, both starts, all runs, the page. About two hours of two cores.
#   PYTHON=.venv/bin/python experiments/why_1b/run.sh SHARED WORK
# SHARED holds tools/slr42_twin.py and data/slr42_text; WORK is an empty folder, or one of a run.sh that was stopped.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python || command -v python3)}")
shared=$(realpath "$1")
mkdir -p "$2/start"
here=$(realpath "$(dirname "$0")")
export OMP_NUM_THREADS=1 PYTHONPATH=${here%/experiments/why_1b} KHASR_CACHE=${KHASR_CACHE:-$(realpath "$2")/cache}
cd "$2" # options then hold relative paths

[ -d twin ] || "$python" "$shared/tools/slr42_twin.py" twin --rate 16000
[ -f pretrain.tsv ] || { "$python" "$here/split.py" twin && cp "$here"/*.tsv .; }

start() {
    [ -f "bestrq_$1/model.safetensors" ] || "$python" "$here/pretrain.py" twin "$1" "bestrq_$1" >"bestrq_$1.log"
    [ -f "start/$1/hypotheses.tsv" ] || "$python" -m khasr.train hydra.run.dir="start/$1" data=openslr_km data.root=twin \
        data.split=./pretrain.tsv model=tiny model.name="$1" model.init=pretrained model.checkpoint="bestrq_$1" \
        finetune=full precision=fp32 optimizer.lr=2e-3 schedule.warmup=0.1 data.batch_size=6 \
        trainer.accumulate_grad_batches=1 trainer.max_epochs=4 trainer.val_every_steps=300 trainer.log_every_steps=50 \
        trainer.progress_bar=false seed=0 model.mask_time_prob=0.05 >"start_$1.log"
}
start small & small=$!
start large & large=$!
wait $small
wait $large

"$python" "$here/runs.py" . >runs_1.log 2>&1 & first=$!
"$python" "$here/runs.py" . >runs_2.log 2>&1 & second=$!
wait $first
wait $second
"$python" -m khasr.report runs --out report --utterances 6 --reference model.mask_time_prob=0.05
"$python" "$here/table.py" runs
mkdir -p "$here/page" "$here/results"
cp report/index.html report/*.png "$here/page"
cp report/runs.csv "$here/results"
