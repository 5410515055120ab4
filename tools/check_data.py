"""Check a data set: `python tools/check_data.py CONFIG`; the same as `convnext-dense check-data`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["check-data", *sys.argv[1:]]))
