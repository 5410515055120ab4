"""argparse whose errors say what, where and how to mend it, with the nearest name of a mistyped one."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import UserError, did_you_mean, nearest

_INVALID_CHOICE = re.compile(
    r"argument (?P<name>.+?): invalid choice: (?P<value>.+?) \(choose from (?P<choices>.+)\)"
)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises a `UserError` where argparse prints its usage and exits."""

    def parse_known_args(  # type: ignore[override]  # argparse's overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse; what this parser does not know is an error of this verb, not left to the parser above it."""
        words = list(sys.argv[1:] if args is None else args)
        if flag := self._unknown_flag(words):  # told before what is missing, of which it may be the cause
            raise self._unknown(flag)
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown:
            raise self._unknown(unknown[0])
        return parsed, unknown

    def _unknown_flag(self, words: Sequence[str]) -> str | None:
        """Return the first flag that is none of this parser's; None where verbs with their own follow."""
        if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            return None
        known = tuple(self._option_string_actions)
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and " " not in word and not any(name.startswith(flag) for name in known):
                return word
        return None

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as a `UserError`."""
        if found := _INVALID_CHOICE.fullmatch(message):
            value, name = found["value"].strip("'"), found["name"]
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            what = f"no such verb: {value!r}" if name == "VERB" else f"{name}: no such choice: {value!r}"
            raise UserError(what, self.prog, self._choose(value, choices))
        raise UserError(message, self.prog, self._help())

    def _choose(self, value: str, choices: Sequence[str]) -> str:
        if value.endswith(".py"):
            return f"did you mean `{self.prog} train {value}`? {self._help()}"
        close = nearest(value, choices)
        return f"did you mean {close!r}? {self._help()}" if close else did_you_mean(value, choices)

    def _unknown(self, word: str) -> UserError:
        flag = word.partition("=")[0]
        if not flag.startswith("-"):
            return UserError(
                f"one argument too many: {word!r}",
                self.prog,
                f"put quotes around what has spaces; {self._help()}",
            )
        flags = [
            name
            for action in self._actions
            for name in action.option_strings
            if action.help is not argparse.SUPPRESS
        ]
        close = nearest(flag, flags)
        return UserError(
            f"unknown option: {flag}", self.prog, (f"did you mean {close}? " if close else "") + self._help()
        )

    def _help(self) -> str:
        return f"`{self.prog} --help` shows all"
