"""`check-data`: everything that is wrong with a data set, before a run; with statistics, JSON and a page."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..commands import command
from ..errors import UserError
from ..files import file_digest, write_whole
from .check_splits import Split, splits_of_arguments, splits_of_config
from .check_table import SEVERITIES, Findings, Group
from .image_files import IMAGE_SUFFIXES

#: Exit codes of the command by the gravest finding; notes are none.
EXIT_CODES = {"error": 2, "warning": 1}
#: How many errors a training that does not start shows.
_SHOWN = 10
_CACHE_VERSION = 1


@dataclass(frozen=True)
class DataReport:
    """What was found, the gravest first, and the statistics of each split."""

    groups: tuple[Group, ...]
    statistics: dict[str, dict[str, Any]]

    @property
    def exit_code(self) -> int:
        """0 without errors and warnings, 1 with warnings, 2 with errors."""
        return max((EXIT_CODES.get(group.severity, 0) for group in self.groups), default=0)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(
            {"findings": [asdict(group) for group in self.groups], "statistics": self.statistics}, indent=1
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check-data` to `parser`."""
    parser.add_argument("config", nargs="?", help="config whose training and validation data to check")
    parser.add_argument("--coco", nargs="+", default=[], metavar="JSON", help="COCO annotation files")
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="DIR", help="folders of images, one for each"
    )
    parser.add_argument("--masks", nargs="+", default=[], metavar="DIR", help="folders of label maps")
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="NAME", help="class names, or a text file of one a line"
    )
    parser.add_argument("--img-suffix", default=".jpg", help="of images with --masks (default: .jpg)")
    parser.add_argument("--mask-suffix", default=".png", help="of label maps (default: .png)")
    parser.add_argument(
        "--reduce-zero-label", action="store_true", help="value 0 does not count, 1 is the first class"
    )
    parser.add_argument(
        "--ignore-index", type=int, default=255, metavar="V", help="value that does not count (default: 255)"
    )
    parser.add_argument("--full", action="store_true", help="decode every image, which takes longer")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="write report.html and report.json there (default: data_check)",
        default="data_check",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="as for train"
    )


def run(args: argparse.Namespace) -> int:
    """Check, print, write the reports; returns the exit code by the gravest finding."""
    from .check_page import print_report, write_page

    if bool(args.config) == bool(args.coco or args.masks):
        raise UserError(
            "what to check?",
            "the command line",
            "name a config, or --coco JSON --images DIR, or --masks DIR --images DIR",
        )
    unknown: list[str] = []
    if args.config:
        from ..engine.config import load_config
        from ..engine.libraries import load_libraries
        from ..engine.preflight import check_data

        cfg = load_config(args.config, args.cfg_options)
        check_data(cfg)
        load_libraries(cfg.default_scope)
        splits, unknown = splits_of_config(cfg)
    else:
        options = {
            "img_suffix": args.img_suffix,
            "mask_suffix": args.mask_suffix,
            "reduce_zero_label": args.reduce_zero_label,
            "ignore_index": args.ignore_index,
        }
        splits = splits_of_arguments(args.coco, args.images, args.masks, args.classes, **options)
    if unknown and not splits:
        raise UserError(
            f"the check does not know the data set type {', '.join(unknown)}",
            args.config,
            "use CocoInstances or BaseSegDataset, or name the files: --coco or --masks",
        )
    report = check_splits(splits, full=args.full)
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "report.json", report.to_json().encode())
        write_page(report, splits, out / "report.html")
    except OSError as error:
        raise UserError(
            f"the report cannot be written: {error.strerror}", str(out), "name another --out"
        ) from error
    print_report(report, splits, unknown)
    print(f"report: {out / 'report.html'} (and report.json)")
    return report.exit_code


def check_splits(splits: Sequence[Split], *, full: bool = False) -> DataReport:
    """Check splits, each by itself and against one another.

    Args:
        splits: What to check.
        full: Decode every image.

    Raises:
        UserError: A split cannot be looked at: an absent folder, a file that is not JSON or not COCO.
    """
    found, statistics = [], {}
    for split in splits:
        findings = Findings(split.place, split.name, split.softened)
        statistics[split.name] = split.check(findings, full)
        found.append(findings)
    _check_overlap(splits, found)
    _check_unused(splits, found)
    groups = [group for findings in found for group in findings.groups()]
    groups.sort(key=lambda group: SEVERITIES.index(group.severity))
    return DataReport(tuple(groups), statistics)


def _check_overlap(splits: Sequence[Split], found: Sequence[Findings]) -> None:
    """Add the images that are in two splits: the same file, or another one of the same content."""
    by_size: dict[int, dict[Path, set[int]]] = defaultdict(lambda: defaultdict(set))
    for number, split in enumerate(splits):
        for path in split.files():
            if path.is_file():
                by_size[path.stat().st_size][path.resolve()].add(number)
    for files in by_size.values():
        if len({number for numbers in files.values() for number in numbers}) < 2:
            continue  # only what has the same size can be the same
        by_content: dict[str, list[tuple[Path, int]]] = defaultdict(list)
        for path, numbers in files.items():
            by_content[file_digest(path, "sha1")] += [(path, number) for number in sorted(numbers)]
        for copies in by_content.values():
            first, first_split = copies[0]
            for path, number in copies[1:]:
                if number != first_split:
                    same = "" if path == first else f", there as {first}"
                    found[number].add(
                        "image in two splits", f"{path} is in {splits[first_split].name}, too{same}"
                    )


def _check_unused(splits: Sequence[Split], found: Sequence[Findings]) -> None:
    """Add the images in the folders of annotation files that none of those files lists."""
    from .check_coco import CocoSplit

    coco = [
        (split, findings)
        for split, findings in zip(splits, found, strict=True)
        if isinstance(split, CocoSplit)
    ]
    used = {path.resolve() for split, _ in coco for path in split.files()}
    told: set[Path] = set()
    for split, findings in coco:
        folder = split.images.resolve()
        if folder in told or not folder.is_dir():
            continue
        told.add(folder)
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in used and path.resolve() not in used:
                findings.add("image not used", f"{path}")


def check_before_training(cfg: Any) -> list[str]:
    """Check the data that a training reads; unchanged data are looked at once.

    Args:
        cfg: The resolved config, its libraries loaded.

    Returns:
        Lines to log.

    Raises:
        UserError: There are errors; the first are named.
    """
    splits, _ = splits_of_config(cfg)
    if not splits:
        return []
    key = _fingerprint(splits)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convnext_dense/checked_data"
    try:
        known = json.loads((cache / f"{key}.json").read_text())
        groups = tuple(Group(**{**group, "examples": tuple(group["examples"])}) for group in known)
    except (OSError, ValueError, TypeError):
        groups = check_splits(splits).groups
        try:
            cache.mkdir(parents=True, exist_ok=True)
            write_whole(cache / f"{key}.json", json.dumps([asdict(group) for group in groups]).encode())
        except OSError:
            pass  # without a cache the next run looks again
    errors = [group for group in groups if group.severity == "error"]
    if errors:
        lines = [f"{g.split}: {g.kind} ({g.count:,}): {example}" for g in errors for example in g.examples]
        fixes = dict.fromkeys(f"{group.kind}: {group.fix}" for group in errors)
        raise UserError(
            f"the data have {sum(group.count for group in errors):,} errors",
            "\n".join(lines[:_SHOWN]),
            "\n".join(
                [*fixes, f"{command('check-data', 'CONFIG')} shows all; --skip-check trains nevertheless"]
            ),
        )
    warnings = [
        f"{group.kind} ({group.count:,} in {group.split})" for group in groups if group.severity == "warning"
    ]
    if not warnings:
        return ["data check: nothing to complain of"]
    return [f"data check: {', '.join(warnings)}; {command('check-data', 'CONFIG')} shows them"]


def _fingerprint(splits: Sequence[Split]) -> str:
    """Return a digest of what is checked: the settings, and each file's name, size and time of change."""
    digest = hashlib.sha256(f"{_CACHE_VERSION} {splits!r}".encode())
    folders = {path for split in splits for path in (split.images, split.place)}
    for folder in sorted(folders):
        if folder.is_file():
            entries = [folder.stat()]
            digest.update(f"{folder} {entries[0].st_size} {entries[0].st_mtime_ns}\n".encode())
            continue
        for parent, inner, files in os.walk(folder):
            inner.sort()
            with os.scandir(parent) as listing:
                sizes = {e.name: e.stat() for e in listing if e.name in set(files)} if files else {}
            for name in sorted(sizes):
                digest.update(f"{parent}/{name} {sizes[name].st_size} {sizes[name].st_mtime_ns}\n".encode())
    return digest.hexdigest()
