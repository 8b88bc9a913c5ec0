#!/usr/bin/env bash
# XLS-R 1B, random weights, two optimizer steps of one utterance on a CPU: time, memory and checkpoints by optimizer.
# CORPUS: 48 utterances of OpenSLR 42's layout. About 3 minutes and up to 16 GiB each; run it on an idle machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
corpus=$(realpath "${1:?usage: run.sh CORPUS [OPTIMIZER...]}"); shift
for optimizer in "${@:-adamw}"; do
    run=runs/memory_1b_$optimizer
    rm -rf "$run"
    "${PYTHON:-.venv/bin/python}" -m khasr.train experiment=card_1b model.init=random precision=fp32 "data.root=$corpus" \
        data.batch_size=1 trainer.accumulate_grad_batches=1 trainer.max_steps=2 "optimizer=$optimizer" "hydra.run.dir=$run"
    ls -l --block-size=M "$run/checkpoints"
done
