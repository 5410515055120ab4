"""Class names as configs and command lines give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError


def as_classes(classes: Any) -> tuple[str, ...]:
    """Return a config's `classes` as names: a sequence, or a text file of one name per line."""
    where, example = "metainfo.classes", "write a list: metainfo=dict(classes=['cat', 'dog'])"
    if isinstance(classes, str):
        if not Path(classes).is_file():
            raise UserError(f"classes is the text {classes!r}, not a list of names", where, example)
        classes = Path(classes).read_text(encoding="utf-8").split("\n")
        classes = [line.rstrip("\r") for line in classes if line.strip()]
    names = tuple(classes)
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"classes is {classes!r:.60}, not a list of names", where, example)
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"classes are repeated: {', '.join(repeated)}", where, "name each class once")
    return names
