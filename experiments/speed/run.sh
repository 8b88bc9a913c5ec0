#!/usr/bin/env bash
# The numbers of this folder, to be run on an idle machine: about 40 minutes on two cores, up to 24 GiB.
#   PYTHON=.venv/bin/python experiments/speed/run.sh DIGITS
# DIGITS: a folder for data=folder. OUT: the folder of the runs, runs/speed by default.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
digits=$(realpath "${1:?usage: run.sh DIGITS}")
out=${OUT:-runs/speed}
here=experiments/speed
corpus="data.root='$digits'"
mkdir -p "$out"
"$python" $here/gains.py experiment=speed_peer "$corpus"
"$python" $here/bench.py --out "$out/scratch" experiment=speed_peer "$corpus"
# Fine-tuning starts from a saved checkpoint.
"$python" -m khasr.train experiment=speed_finetune "$corpus" model.init=random trainer.max_steps=1 score_test=false \
    "hydra.run.dir='$out/start'" > "$out/start.txt"
start="model.checkpoint='$out/start'"
"$python" $here/gains.py --rounds 2 --steps 5 experiment=speed_finetune "$corpus" "$start"
"$python" $here/bench.py --out "$out/finetune" experiment=speed_finetune "$corpus" "$start" data.val_share=0.6 trainer.max_epochs=2
"$python" $here/evaluating.py "$out/scratch/khasr_0"
"$python" $here/growth.py
