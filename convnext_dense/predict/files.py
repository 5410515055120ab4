"""The body of `tools/predict.py`: files in, a folder of results out."""

from __future__ import annotations

import argparse
import glob
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import EXIT_SOME_FAILED, UserError
from ..progress import track
from .predictor import Predictor
from .results import Detections, coco_file, write_json, write_picture

#: What is an image in a folder; a file that is named is tried whatever it is called.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_RESULT_FOLDERS = ("overlays", "labels")
#: Of overlays, where nothing else is asked for.
_SCORE_THR = 0.3


def run(args: argparse.Namespace) -> None:
    """Predict the images of the command line and write what was found.

    Raises:
        UserError: A mistake in the arguments, before anything is predicted; or, at the end and with the exit
            code 1, the images that could not be read.
    """
    # The libraries warn of their own old interfaces.
    warnings.filterwarnings("ignore", module=r"(mm\w+|torch)\..*")
    out = Path(args.out)
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        raise UserError(f"a score is 0 to 1, not {args.score_thr}", "--score-thr", "give e.g. 0.5")
    files = find_images(args.inputs, out)
    _check_writable(out)
    predict = Predictor(args.checkpoint, args.config, args.device)
    if args.score_thr is not None and not predict.is_detector:
        raise UserError("--score-thr is for detectors; this is a segmentor", "--score-thr", "leave it out")
    failed = predict_files(
        predict, files, out, batch_size=args.batch_size, score_thr=args.score_thr, draw=not args.no_draw
    )
    sys.stdout.write(
        f"{len(files) - len(failed)} of {len(files)} images predicted: {_contents(predict, args)}\n"
    )
    if failed:
        raise UserError(
            f"{len(failed)} of {len(files)} images could not be read",
            "\n".join(error.what for error in failed.values()),
            "replace the files; all other results are written",
            exit_code=EXIT_SOME_FAILED,
        )


def predict_files(
    predict: Predictor,
    files: Sequence[Path],
    out: Path,
    *,
    batch_size: int = 1,
    score_thr: float | None = None,
    draw: bool = True,
) -> dict[Path, UserError]:
    """Predict image files and write the results, with a progress bar.

    Detectors write `predictions.json` (COCO, all images), segmentors `labels/<image>.png` (class indices);
    both `overlays/<image>.jpg`. What was done is written if the run is interrupted, too.

    Args:
        predict: The predictor.
        files: Images.
        out: Folder of the results; made if it is not there.
        batch_size: As `Predictor` has it.
        score_thr: Objects below it are left out. By default the JSON has all that the config's `test_cfg`
            keeps, and overlays those from 0.3.
        draw: Whether to write overlays.

    Returns:
        The files that could not be read, each with its error.
    """
    names = output_names(files)
    detections: dict[int, Detections] = {}
    failed: dict[Path, UserError] = {}
    outcomes = predict.stream(files, batch_size=batch_size)
    try:
        with track(f"predicting on {predict.device}", len(files)) as advance:
            for index, result in outcomes:
                if isinstance(result, UserError):
                    failed[files[index]] = result
                elif isinstance(result, Detections):
                    kept = result if score_thr is None else result.above(score_thr)
                    detections[index] = kept
                    if draw:
                        picture = kept.draw(score_thr=_SCORE_THR if score_thr is None else score_thr)
                        write_picture(out / "overlays" / f"{names[index]}.jpg", picture)
                else:
                    result.save(out / "labels" / f"{names[index]}.png")
                    if draw:
                        write_picture(out / "overlays" / f"{names[index]}.jpg", result.draw())
                advance(1)
    finally:
        if predict.is_detector:
            in_order = (detections[index] for index in sorted(detections))
            write_json(out / "predictions.json", coco_file(in_order))
    return failed


def find_images(inputs: Sequence[str], out: Path) -> list[Path]:
    """Return the image files that files, folders and globs name: in order, each once.

    Folders are searched with all that is below them, but for the results of a former run in `out`.

    Raises:
        UserError: An input does not exist or holds no image.
    """
    files: dict[Path, Path] = {}
    results = {(out / folder).resolve() for folder in _RESULT_FOLDERS}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            what = f"the folder holds no image ({', '.join(IMAGE_SUFFIXES)})"
        elif path.exists():
            found, what = [path], ""
        else:
            found = [Path(file) for file in sorted(glob.glob(str(path), recursive=True))]
            what = "nothing matches" if glob.has_magic(text) else "no such file or folder"
        found = [file for file in found if file.is_file() and results.isdisjoint(file.resolve().parents)]
        if not found:
            raise UserError(
                f"{what or 'no image'}: {text}", str(path.absolute()), "give files, folders or globs"
            )
        files.update((file.resolve(), file) for file in found if file.resolve() not in files)
    return list(files.values())


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a name without suffix for each file's results: its path below the folder that all share.

    Where two files differ in their suffix alone, it stays in the name.
    """
    shared = Path(os.path.commonpath([file.resolve().parent for file in files]))
    paths = [file.resolve().relative_to(shared) for file in files]
    stems = Counter(path.with_suffix("") for path in paths)
    return [str(path if stems[path.with_suffix("")] > 1 else path.with_suffix("")) for path in paths]


def _check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the output folder cannot be made: {error.strerror}", str(out), "name another one with --out"
        ) from error
    if not os.access(out, os.W_OK):
        raise UserError("the output folder cannot be written", str(out), "name another one with --out")


def _contents(predict: Predictor, args: argparse.Namespace) -> str:
    first = "predictions.json" if predict.is_detector else "labels/*.png"
    return f"{first}{'' if args.no_draw else ', overlays/*.jpg'} in {args.out}"
