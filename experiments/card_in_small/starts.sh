#!/usr/bin/env bash
# Makes the starts again (two hours of one thread each when the machine is busy; starts/ has them):
#   PYTHON=.venv/bin/python experiments/card_in_small/starts.sh SHARED WORK
# SHARED holds tools/slr42_twin.py and the texts it speaks. WORK is an empty folder, or that of an interrupted call.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
shared=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
mkdir -p "$2/start"
cd "$2" # options then hold relative paths
export OMP_NUM_THREADS=1 PYTHONPATH=${here%/experiments/card_in_small} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}

[ -d twin ] || "$python" "$shared/tools/slr42_twin.py" twin --rate 8000 # the bandwidth of the digits
for size in small large; do
    [ -f "bestrq_$size/pretraining.json" ] || "$python" "$here/pretrain.py" twin "$size" "bestrq_$size" --updates 1500
    resume=$([ -f "start/$size/checkpoints/last.ckpt" ] && echo "resume=start/$size" || true)
    "$python" -m khasr.train hydra.run.dir="start/$size" data=openslr_km data.root=twin model=tiny model.name="$size" \
        model.init=pretrained model.checkpoint="bestrq_$size" finetune=full precision=fp32 optimizer.lr=2e-3 \
        'optimizer.betas=[0.9,0.98]' optimizer.weight_decay=0.01 schedule.warmup=0.1 data.batch_size=8 \
        'data.augment.speed=[0.9,1.0,1.1]' model.mask_time_prob=0.05 trainer.accumulate_grad_batches=1 \
        trainer.max_epochs=8 trainer.val_every_steps=400 trainer.log_every_steps=50 trainer.progress_bar=false seed=0 $resume
    "$python" -m khasr.export "start/$size" --out "exported/$size" # starts/ has its config.json and weights, in float16
done
