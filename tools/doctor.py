"""Look at the installation: `python tools/doctor.py`; the same as `convnext-dense doctor`."""

import sys

from convnext_dense.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))
