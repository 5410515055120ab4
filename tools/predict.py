"""Predict images: `python tools/predict.py CHECKPOINT INPUT...`; the same as `convnext-dense predict`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))
