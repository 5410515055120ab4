"""Importing this module makes the toolkit known to OpenMMLab; configs name it in `custom_imports`.

It makes `mmcv.ops` importable without compiled operators and registers the backbone, the
convolution of necks and heads, the optimizer constructor and the hooks at mmengine's root registries,
so that mmdet's and mmseg's configs find them. Importing it twice does nothing more.
"""

from . import ops

ops.install()

from . import engine, optim, report  # noqa: E402, F401
from .models import convnext, winograd  # noqa: E402, F401
