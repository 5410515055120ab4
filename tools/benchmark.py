"""Time the toolkit against its peers: `python tools/benchmark.py`; the same as `convnext-dense benchmark`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
