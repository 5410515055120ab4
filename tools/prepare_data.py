"""Get or make a data set: `python tools/prepare_data.py {shapes,ade20k}`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["prepare-data", *sys.argv[1:]]))
