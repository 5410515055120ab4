"""Commands as messages show them, to be copied into a shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command(verb: str, *words: object) -> str:
    """Return the command of a verb, called in the way that this process was: by script or console command.

    Args:
        verb: As in `convnext-dense VERB`.
        words: Its arguments, which get quotes where a shell needs them.
    """
    program = Path(sys.argv[0])
    script = program.with_name(f"{verb.replace('-', '_')}.py")
    by_script = program.suffix == ".py" and program.name != "__main__.py" and script.is_file()
    start = ["python", str(script)] if by_script else ["convnext-dense", verb]
    return shlex.join([*start, *map(str, words)])
