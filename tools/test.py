"""Evaluate a checkpoint: `python tools/test.py CONFIG CHECKPOINT`; the same as `convnext-dense test`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["test", *sys.argv[1:]]))
