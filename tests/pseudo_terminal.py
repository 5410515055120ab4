"""Driving a command in a terminal of its own, as a user at a keyboard does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time


class Terminal:
    """A command that runs in a pseudo-terminal.

    Use it as a context: in the end nothing of the command is left.
    """

    def __init__(self, command, *, columns=80, cwd=None, env=None):
        self.output = ""
        self._keyboard, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1", **(env or {})}
        environment.pop("COLUMNS", None)
        self._process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._keyboard)

    def press(self, key):
        """Type a key; `\\x03` is Ctrl-C, which the terminal sends to all processes in its foreground."""
        os.write(self._keyboard, key.encode())

    def wait_for(self, pattern, seconds=120):
        """Read until the output matches, and return the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            if not self._read(0.2) or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come:\n{self.output[-4000:]}")
        return found

    def exit_code(self, seconds=120):
        """Read to the end, and return the exit code."""
        end = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < end, f"it does not end:\n{self.output[-4000:]}"
        return self._process.wait(max(1.0, end - time.monotonic()))

    @property
    def text(self):
        """The output without the terminal's control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output)

    def _read(self, seconds):
        """Read what has come; returns False at the end."""
        if not select.select([self._keyboard], [], [], seconds)[0]:
            return True
        try:
            read = os.read(self._keyboard, 65536)
        except OSError:  # Linux's way to say that nobody has the terminal open
            return False
        self.output += read.decode(errors="replace")
        return bool(read)
