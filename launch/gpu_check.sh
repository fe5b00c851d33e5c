#!/bin/sh
# What one GPU does, in at most 8 minutes: steps and episodes a second, gradients, energy, memory.
# Usage: launch/gpu_check.sh FOLDER [--quick] [--seconds 440]     (--quick: tiny batches, on a CPU)
# Leaves FOLDER/table.json and FOLDER/table.md. PYTHON names another interpreter.
set -eu
if [ $# -lt 1 ]; then sed -n 2,4p "$0" >&2; exit 2; fi
folder=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
exec "${PYTHON:-python}" -m experiments.gradients.gpu_check --out "$folder" "$@"
