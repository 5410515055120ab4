"""Progress of one long task: a bar on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .files import human_bytes

#: Seconds between two plain lines where standard error is no terminal.
LINE_EVERY_S = 10.0


@contextmanager
def track(
    label: str, total: int | None, *, done: int = 0, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show the progress of a task on standard error.

    Args:
        label: What is being done, e.g. `unpacking ADEChallengeData2016.zip`.
        total: Number of items (or bytes) in all; None if unknown.
        done: Items that were done before, e.g. the bytes of a resumed download.
        in_bytes: The items are bytes: shown as kB and MB, with the speed.

    Yields:
        `advance(n)`, to be called when `n` more items are done.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    show = _bar if console.is_terminal else _lines
    with show(console, label, total, done, in_bytes) as advance:
        yield advance


@contextmanager
def _bar(console, label, total, done, in_bytes) -> Iterator[Callable[[int], None]]:  # type: ignore[no-untyped-def]
    from rich import progress as rp

    counters = [rp.DownloadColumn(), rp.TransferSpeedColumn()] if in_bytes else [rp.MofNCompleteColumn()]
    columns = [rp.TextColumn("{task.description}", markup=False), rp.BarColumn(), *counters]
    with rp.Progress(*columns, rp.TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda n: bar.advance(task, n)


@contextmanager
def _lines(console, label, total, done, in_bytes) -> Iterator[Callable[[int], None]]:  # type: ignore[no-untyped-def]
    def amount(n: int) -> str:
        return human_bytes(n) if in_bytes else str(n)

    def line() -> str:
        if not total:
            return f"{label}: {amount(done)}"
        return f"{label}: {100 * done // total:3d} % of {amount(total)}"

    said_at = time.monotonic()
    console.print(line(), soft_wrap=True)

    def advance(n: int) -> None:
        nonlocal done, said_at
        done += n
        if time.monotonic() - said_at >= LINE_EVERY_S:
            said_at = time.monotonic()
            console.print(line(), soft_wrap=True)

    yield advance
    console.print(line(), soft_wrap=True)
