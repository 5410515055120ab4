#!/usr/bin/env bash
# `make demo`: generate the embedded data set, train and evaluate UperNet on it, draw its predictions.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin}/python
config=configs/demo/upernet_convnext_atto_shapes.py
work_dir=work_dirs/upernet_convnext_atto_shapes

"$python" tools/prepare_data.py shapes
"$python" tools/train.py "$config" --work-dir "$work_dir"
checkpoint=$(cat "$work_dir/last_checkpoint")
"$python" tools/test.py "$config" "$checkpoint" --work-dir "$work_dir/test" --show-dir "$work_dir/overlays"

echo
echo "data set     data/shapes"
echo "checkpoint   $checkpoint"
echo "scores       $work_dir/test/metrics.json"
echo "pictures     $work_dir/overlays"
