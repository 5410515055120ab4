#!/usr/bin/env bash
# `make demo`: generate the embedded data set, train and evaluate a model on it, draw its predictions.
#   tools/demo.sh BIN [CONFIG]    BIN: the environment's bin folder; CONFIG: a name in configs/demo
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin}/python
name=${2:-upernet_convnext_atto_shapes}
config=configs/demo/$name.py
work_dir=work_dirs/$name

"$python" tools/prepare_data.py shapes
"$python" tools/train.py "$config" --work-dir "$work_dir"
# The folder's name itself: `latest` is no link on a file system without links.
run=$(dirname "$(cat "$work_dir/last_checkpoint")")
run=${run#"$PWD/"}
"$python" tools/test.py "$config" "$run/last.pth" --work-dir "$work_dir/test" --show-dir "$work_dir/overlays"

echo
echo "data set     data/shapes"
echo "run          $run (checkpoints, curves, pictures)"
echo "scores       $work_dir/test/metrics.json"
echo "pictures     $work_dir/overlays"
