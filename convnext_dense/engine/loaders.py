"""The libraries' own ways to read a pickle, closed: what they load goes through this toolkit's reader.

mmengine reads checkpoints with `weights_only=True` and, where that fails, without; annotation files called
`.pkl` by `pickle.load`. Parts of a config that no code here looks at (the teacher of a distilled model, a
stock data set's annotation file) would come to either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from mmengine.fileio.handlers import PickleHandler
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.runner import CheckpointLoader

from ..errors import UserError
from ..weights import read_checkpoint


class ClosedPickleHandler(PickleHandler):
    """mmengine's handler of `.pkl` files, which writes them and refuses to read them."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> NoReturn:
        """Refuse; mmengine hands over the content alone, without the file's name."""
        command = "import json, pickle; json.dump(pickle.load(open('IN.pkl', 'rb')), open('OUT.json', 'w'))"
        raise UserError(
            "a pickle was not loaded: reading it can run code that is in it",
            "the config (a file whose name ends in .pkl or .pickle)",
            "get the data as JSON. Only if you trust whoever made the file, convert it, better on a machine "
            f'without anything of value: python -c "{command}"',
        )


@contextmanager
def closed_loaders() -> Iterator[None]:
    """Let mmengine read every checkpoint by `read_checkpoint`, and no pickle at all; also a decorator."""

    def load_from_safely(filename: str, map_location: Any = None) -> dict[str, Any]:
        return read_checkpoint(filename)

    schemes, handlers = dict(CheckpointLoader._schemes), dict(file_handlers)
    CheckpointLoader.register_scheme(list(schemes), load_from_safely, force=True)
    file_handlers.update(dict.fromkeys(("pkl", "pickle"), ClosedPickleHandler()))
    try:
        yield
    finally:
        CheckpointLoader._schemes = schemes
        file_handlers.update(handlers)
