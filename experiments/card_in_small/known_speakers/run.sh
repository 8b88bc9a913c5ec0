#!/usr/bin/env bash
# Runs the study of this folder's PROTOCOL.md, or continues it:
#   PYTHON=.venv/bin/python experiments/card_in_small/known_speakers/run.sh DIGITS WORK [--max-hours 2]
here=$(realpath "$(dirname "$0")")
DATA=$here LR_A=${LR_A:-1.5e-3} LR_B=${LR_B:-3e-4} VALIDATION=100 exec "$here/../run.sh" "$@"
