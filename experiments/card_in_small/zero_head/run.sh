#!/usr/bin/env bash
# Runs the study of this folder's PROTOCOL.md, or continues it:
#   PYTHON=.venv/bin/python experiments/card_in_small/zero_head/run.sh DIGITS WORK [--max-hours 2]
study=$(realpath "$(dirname "$0")/..")
DATA=$study/known_speakers LR_A=${LR_A:-2e-3} LR_B=${LR_B:-4e-4} HEAD=${HEAD:-zero} VALIDATION=100 exec "$study/run.sh" "$@"
