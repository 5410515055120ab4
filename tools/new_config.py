"""Write a config: `python tools/new_config.py --model … --out PY`; as `convnext-dense new-config`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["new-config", *sys.argv[1:]]))
