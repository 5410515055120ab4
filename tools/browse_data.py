"""Look at augmented samples: `python tools/browse_data.py CONFIG`; as `convnext-dense browse-data`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["browse-data", *sys.argv[1:]]))
