#!/bin/sh
# All that needs a GPU, in one call of at most six minutes: bits, outputs and speed, as one JSON object.
# It needs torch, torchvision, numpy and what evoens imports for classifiers; no game, no network, no data set.
#     sh tests/gpu_check.sh > gpu.json
set -e
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m evoens.bench.gpu "$@"
