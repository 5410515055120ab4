"""Train a model: `python tools/train.py CONFIG`; the same as `convnext-dense train`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
