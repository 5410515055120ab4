"""Convert annotations: `python tools/convert_data.py FORMAT …`; the same as `convnext-dense convert-data`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["convert-data", *sys.argv[1:]]))
