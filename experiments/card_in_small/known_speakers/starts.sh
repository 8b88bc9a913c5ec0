#!/usr/bin/env bash
# Makes the starts of this folder again (starts/ has them): ../starts trained further, on English digits of espeak-ng.
#   PYTHON=.venv/bin/python experiments/card_in_small/known_speakers/starts.sh WORK
# WORK is an empty folder, or that of an interrupted call.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
here=$(realpath "$(dirname "$0")")
mkdir -p "$1/start"
cd "$1" # options then hold relative paths
export OMP_NUM_THREADS=1 PYTHONPATH=${here%/experiments/card_in_small/known_speakers} KHASR_CACHE=${KHASR_CACHE:-$PWD/cache}
ln -sfn "$here/../starts" starts
[ -d digits ] || "$python" "$here/synthetic_digits.py" digits
for size in small large; do
    resume=$([ -f "start/$size/checkpoints/last.ckpt" ] && echo "resume=start/$size" || true)
    # shellcheck disable=SC2046
    "$python" -m khasr.train $(cat "$here/../common.txt") hydra.run.dir="start/$size" model.name="$size" \
        model.checkpoint="starts/$size" optimizer.lr=2e-3 schedule.warmup=0.1 trainer.max_steps=1500 \
        trainer.val_every_steps=500 seed=0 $resume
    "$python" -m khasr.export "start/$size" --out "exported/$size" # starts/ has its config.json and weights, in float16
done
