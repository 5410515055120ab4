"""Running a script in a Python process of its own, for what depends on the order of imports."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_python(script, *, path=None, warnings="default", timeout=200):
    """Run a script; `path` goes first in its import path. Returns the completed process."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    if path is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(path), env.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", textwrap.dedent(script)],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def output_of(script, **options):
    """Run a script that has to succeed and return what it prints."""
    done = run_python(script, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout
