"""What a user's mistake is met with: what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Exit codes of the command line.
EXIT_SOME_FAILED = 1  #: some of many inputs could not be processed, all others were
EXIT_USER_ERROR = 2
EXIT_NON_FINITE_LOSS = 3
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """An error that its reader can mend; printed as three parts and never as a traceback.

    Args:
        what: What is wrong, one sentence with the offending value.
        where: The file, record or config key that it was found in.
        fix: What to do about it: a command, a config line, the nearest valid name.
        exit_code: Exit code of the command line.
    """

    def __init__(
        self, what: str, where: str | None = None, fix: str | None = None, *, exit_code: int = EXIT_USER_ERROR
    ) -> None:
        # A loader's worker hands an error on as one text, its traceback first: what it said is at the end.
        what = what.rsplit(f"{__name__}.UserError: ", 1)[-1].rstrip()
        self.what, self.where, self.fix, self.exit_code = what, where, fix, exit_code
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where:", self.where), ("fix:", self.fix)):
            if text:
                lines.append(f"  {label:<7}{text}".replace("\n", "\n" + " " * 9))
        return "\n".join(lines)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `name` most likely misspells, or None if none is close."""
    by_folded = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(str(name).lower(), by_folded, n=1, cutoff=0.6)
    return by_folded[match[0]] if match else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a hint for a mistyped `name`: the nearest of the `choices`, then all of them."""
    choices = list(choices)
    close = nearest(name, choices)
    hint = f"did you mean {close!r}? " if close else ""
    return f"{hint}choose one of: {', '.join(map(str, choices))}"
