from __future__ import annotations

import pytest

from convnext_dense import progress
from convnext_dense.progress import track


def test_plain_lines_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with track("sorting [a/b]", 4, done=1) as advance:
        for _ in range(3):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sorting [a/b]:  25 % of 4" and lines[-1] == "sorting [a/b]: 100 % of 4"
    assert "sorting [a/b]:  50 % of 4" in lines


def test_plain_lines_are_few(capsys):
    with track("fetching", None, in_bytes=True) as advance:
        for _ in range(1000):
            advance(1000)
    assert capsys.readouterr().err.splitlines() == ["fetching: 0 B", "fetching: 1.0 MB"]


@pytest.mark.parametrize("in_bytes", [False, True])
def test_a_bar_on_a_terminal(capsys, monkeypatch, in_bytes):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with track("sorting [a/b]", 3000, in_bytes=in_bytes) as advance:
        advance(3000)
    shown = capsys.readouterr().err
    assert (
        "\x1b[" in shown and "sorting [a/b]" in shown and ("3.0/3.0 kB" if in_bytes else "3000/3000") in shown
    )


def test_an_error_inside_passes_through(capsys):
    with pytest.raises(ZeroDivisionError), track("dividing", 1):
        1 / 0  # noqa: B018
    assert capsys.readouterr().err.splitlines() == ["dividing:   0 % of 1"]
