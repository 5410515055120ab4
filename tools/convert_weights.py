"""Convert weights: `python tools/convert_weights.py IN OUT --to FORMAT`; `convnext-dense convert-weights`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["convert-weights", *sys.argv[1:]]))
