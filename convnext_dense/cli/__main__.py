"""`python -m convnext_dense.cli VERB`, the same as `convnext-dense VERB`."""

import sys

from . import main

sys.exit(main())
