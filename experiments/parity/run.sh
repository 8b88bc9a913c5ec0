#!/usr/bin/env bash
# The table of README.md; about a minute on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" experiments/parity/parity.py "$@"
