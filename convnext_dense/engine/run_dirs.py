"""Where the files of trainings lie: `<work dir>/<time>/`, a folder for each run.

work_dirs/<config>/
  latest            link to the newest run's folder (a text file with its name where there are no links)
  last_checkpoint   path of the newest checkpoint, for OpenMMLab's own tools
  <time>/           one run, e.g. 20260131_235959; a resumed run goes on in its own folder
    last.pth  best.pth   the newest and the best checkpoint: complete files at any time
"""

from __future__ import annotations

import os
import re
import shutil
from itertools import chain, count
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError

LATEST, LAST, BEST = "latest", "last.pth", "best.pth"
#: mmengine's pointer file: the path of the newest checkpoint.
POINTER = "last_checkpoint"
#: Folder of `--dry-run`, which is no run: nothing resumes from it.
DRY_RUN = "dry_run"
_RUN_NAME = re.compile(r"(\d{8}_\d{6})(?:_(\d+))?")


def run_dir(cfg: Config, work_dir: Path, timestamp: str) -> Path:
    """Choose and make the folder of a training that begins now.

    A resumed run goes on in its own folder if that lies in the work dir; every other training gets a new one.

    Args:
        cfg: The run's config: `resume`, `load_from`, `dry_run`.
        work_dir: The work dir, `--work-dir`.
        timestamp: The time as `YYYYmmdd_HHMMSS`.
    """
    if cfg.get("dry_run"):
        folder = work_dir / DRY_RUN
    else:
        own = _run_of(Path(cfg.load_from)) if cfg.get("resume") and cfg.get("load_from") else None
        if own is None or work_dir.resolve() not in (own, own.parent):
            return _new_run_dir(work_dir, timestamp)
        folder = own
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _new_run_dir(work_dir: Path, timestamp: str) -> Path:
    """Make a new folder; of those that begin in the same second, the second one gets `_2`, and so on."""
    for name in chain([timestamp], (f"{timestamp}_{number}" for number in count(2))):
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            continue
        return work_dir / name
    raise AssertionError("there is always a next number")


def _run_of(checkpoint: Path) -> Path | None:
    """Return the run's folder that a checkpoint lies in, or None if it lies in none."""
    folder = checkpoint.resolve().parent
    return folder if _RUN_NAME.fullmatch(folder.name) else None


def runs(work_dir: Path) -> list[Path]:
    """Return the folders of a work dir's runs, that of `latest` first and then the newest."""
    found = {path.name: path for path in work_dir.iterdir() if _RUN_NAME.fullmatch(path.name)}
    latest = work_dir / LATEST
    name = latest.read_text().strip() if latest.is_file() else latest.resolve().name

    def newness(run: str) -> tuple[bool, str, int]:
        time, number = _RUN_NAME.fullmatch(run).groups()  # type: ignore[union-attr]
        return run == name, time, int(number or 1)

    return [found[run] for run in sorted(found, key=newness, reverse=True)]


def checkpoint_to_resume(source: str, work_dir: str) -> str:
    """Return the checkpoint that `--resume` means.

    Args:
        source: `auto`, for the newest of the work dir's runs that has one, or a file.
        work_dir: The work dir, or the folder of one run in it.

    Raises:
        UserError: There is none.
    """
    if source != "auto":
        if not Path(source).is_file():
            raise UserError(f"no such checkpoint: {source}", "--resume", "name a .pth file of the run")
        return source
    folder = Path(work_dir)
    for run in [folder, *runs(folder)]:
        if (run / LAST).is_file():
            return str(run / LAST)
    # All in one folder: a run of OpenMMLab's own tools.
    pointer = folder / POINTER
    flat = pointer.read_text().strip() if pointer.is_file() else None
    if flat is None or not Path(flat).is_file():
        raise UserError(
            "there is no checkpoint to resume from"
            if flat is None
            else f"the last checkpoint is gone: {flat}",
            work_dir,
            "start the run without --resume, or name a checkpoint: --resume PATH",
        )
    return flat


def set_latest(run: Path) -> None:
    """Let `latest` lead to a run's folder.

    Raises:
        UserError: Something else has that name.
    """
    latest = run.parent / LATEST
    unfinished = latest.with_name(f"{LATEST}.part")
    unfinished.unlink(missing_ok=True)
    try:
        unfinished.symlink_to(run.name, target_is_directory=True)
    except OSError:  # a file system without links, or a system that forbids them
        unfinished.write_text(run.name + "\n")
    try:
        os.replace(unfinished, latest)
    except OSError as error:
        unfinished.unlink()
        raise UserError(
            f"the link to the newest run cannot be made: {error.strerror}", str(latest), "move it away"
        ) from error


def link_checkpoint(path: Path, name: str) -> None:
    """Give a checkpoint a second name in its folder, in one step.

    It is a hard link, which takes no space and keeps its content when the file is pruned or replaced under
    its first name; a symbolic one would lead nowhere then. Where there are none, it is a copy.
    """
    link = path.with_name(name)
    if link.exists() and link.samefile(path):
        return
    unfinished = path.with_name(f"{name}.part")
    unfinished.unlink(missing_ok=True)
    try:
        os.link(path, unfinished)
    except OSError:
        shutil.copyfile(path, unfinished)
    os.replace(unfinished, link)


def adopt_best(path: Path, run: Path) -> None:
    """Let a run's folder have the best checkpoint so far, where an earlier part of the run left it elsewhere.

    Resumed in another folder, a run must not replace what is in the first one: it takes a link or a copy.
    """
    here = run / path.name
    if path.is_file() and not here.exists():
        try:
            os.link(path, here)
        except OSError:
            shutil.copyfile(path, here)
    if here.exists() and not (run / BEST).exists():
        link_checkpoint(here, BEST)
