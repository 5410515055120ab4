"""The shipped configs: where they lie, how one is found by its name, and what its header says of it.

They are read as text here, so that listing them and completing their names loads no library.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import UserError

#: Where a wheel carries them; in a checkout they lie beside the package.
_IN_WHEEL = Path(__file__).with_name(".configs")
_IN_CHECKOUT = Path(__file__).parents[1] / "configs"
_TASKS = {"runtime_seg": "segmentation", "runtime_det": "detection"}


@dataclass(frozen=True)
class ConfigCard:
    """What a config's header says of it.

    Attributes:
        name: The name by which it is found.
        title: One line: model, data, weights.
        task: `segmentation` or `detection`; '' for neither.
        params_M: Parameters of the whole model in millions; None if the header does not say.
        published: The published score, e.g. `46.2 box AP, 41.7 mask AP`; '' for none.
        measured: What was measured here; '' for nothing.
    """

    name: str
    title: str
    task: str
    params_M: float | None
    published: str
    measured: str


def configs_folder() -> Path:
    """Return the folder of the shipped configs.

    Raises:
        UserError: The installation lacks them.
    """
    for folder in (_IN_WHEEL, _IN_CHECKOUT):
        if (folder / "_base_").is_dir():
            return folder
    raise UserError(
        "the installed package has no configs",
        str(_IN_WHEEL),
        "install it anew, from the project's folder: pip install --force-reinstall --no-deps .",
    )


@cache
def shipped_configs() -> dict[str, Path]:
    """Return the shipped configs by name: the file's, with its folder where two are called the same."""
    folder = configs_folder()
    files = [path for path in sorted(folder.rglob("*.py")) if "_base_" not in path.parts]
    stems = [path.stem for path in files]
    return {
        path.stem
        if stems.count(path.stem) == 1
        else path.relative_to(folder).with_suffix("").as_posix(): path
        for path in files
    }


def find_config(source: str | os.PathLike[str]) -> Path:
    """Return the file of a config: the path itself if it is there, else the shipped one of that name.

    Args:
        source: A path, or a name such as `upernet_convnext_b` or `demo/upernet_convnext_atto_shapes`.

    Raises:
        UserError: There is neither; the message has the nearest names.
    """
    path = Path(source)
    if path.is_file():
        return path
    text = path.as_posix()
    folder = configs_folder()
    shipped = shipped_configs()
    by_name = shipped | {
        file.relative_to(folder).with_suffix("").as_posix(): file for file in shipped.values()
    }
    if text in by_name:
        return by_name[text]
    is_path = path.suffix in (".py", ".json")
    raise UserError(
        f"config file not found: {path}" if is_path else f"there is no config {text!r}",
        str(path.absolute()) if is_path else f"the working directory, and the shipped configs ({folder})",
        _nearest_names(path, is_path) + "`convnext-dense list` shows the shipped ones",
    )


def _nearest_names(path: Path, is_path: bool) -> str:
    """Return a hint with up to three names, or files below `configs`, that the given one may misspell."""
    below = [file.as_posix() for file in Path("configs").rglob("*.py") if "_base_" not in file.parts]
    close = difflib.get_close_matches(path.as_posix(), below, n=3, cutoff=0.8) if is_path else []
    if not close:
        names = shipped_configs()
        longer = [name for name in names if name.startswith(path.stem)]
        others = [name for name in names if name not in longer]
        close = longer + difflib.get_close_matches(path.stem, others, n=3, cutoff=0.6)
        close = [path.stem] if path.stem in names else close[:3]
    return f"did you mean {' or '.join(close)}? " if close else ""


def typed_config(name: str) -> str:
    """Return a shipped config as it is typed here: its path where that lies below, else its name."""
    local = Path("configs") / shipped_configs()[name].relative_to(configs_folder())
    return local.as_posix() if local.is_file() else name


def config_card(name: str, path: Path) -> ConfigCard:
    """Return what a config's header says; nothing of the file is run."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        tree = ast.Module([], [])
    header = ast.get_docstring(tree) or ""
    params = re.search(r"([\d.]+) M parameters", header)
    return ConfigCard(
        name=name,
        title=header.partition("\n")[0].removesuffix("."),
        task=next((task for runtime, task in _TASKS.items() if runtime in _bases(tree)), ""),
        params_M=float(params[1]) if params else None,
        published=_score(_field(header, "Published")),
        measured=_score(_field(header, "Measured here")),
    )


def _bases(tree: ast.Module) -> set[str]:
    """Return the names of the base configs."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            texts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            return {Path(text).stem for text in texts if isinstance(text, str)}
    return set()


def _field(header: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*)$", header, re.M)
    return found[1] if found else ""


def _score(text: str) -> str:
    """Return the score that a line of a header begins with; '' if it begins with a word."""
    score = re.split(r";| \(| on |,? after ", text)[0]
    return score if re.search(r"\d", score) and re.search(r"\b(AP\d*|mIoU)\b", score) else ""
