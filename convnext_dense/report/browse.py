"""`browse-data`: augmented samples as the network gets them, with their labels drawn, to look at."""

from __future__ import annotations

import argparse
import base64
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jinja2 import Environment
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..engine.config import load_config
from ..engine.libraries import load_libraries
from ..engine.preflight import check_data, check_not_empty
from ..engine.spelling import check_spelling
from ..errors import UserError
from ..progress import track
from .colors import class_colors
from .sample import draw_sample

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1400px;margin:2em auto;padding:0 1em;color:#222}
h1{margin-bottom:0}figure{margin:1.5em 0}img{max-width:100%}figcaption{font-size:.85em;color:#555}
code{word-break:break-all}
</style><h1>{{ title }}</h1><p>{{ text }}</p><p>Pipeline: <code>{{ steps }}</code></p>
{% for s in samples %}<figure><img alt="{{ s.name }}" src="data:image/jpeg;base64,{{ s.code }}">
<figcaption>{{ s.caption }}</figcaption></figure>{% endfor %}</html>
"""


def run(args: argparse.Namespace) -> int:
    """Write the pictures and the page that the parsed arguments ask for; returns 0."""
    if args.number < 1 or args.views < 1:
        raise UserError("--number and --views count from 1", f"{args.number}, {args.views}")
    cfg = load_config(args.config, args.cfg_options)
    loader = cfg.get(f"{args.split}_dataloader")
    if not loader:
        raise UserError(f"the config has no {args.split}_dataloader", args.config, "name another --split")
    load_libraries(cfg.default_scope)
    shown = {key: cfg[key] for key in ("default_scope", f"{args.split}_dataloader")}
    check_spelling(Config(shown), args.config)
    check_data(cfg, (args.split,))
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        dataset = registry.build(loader.dataset)
    check_not_empty(dataset, f"{args.split}_dataloader.dataset")
    folder = Path(args.out or Path("work_dirs") / Path(args.config).stem / "browse" / args.split)
    pictures = _write_pictures(dataset, folder, args)
    page = folder / "index.html"
    page.write_text(_page(cfg, args, len(dataset), pictures), "utf-8")
    sys.stdout.write(f"{len(pictures)} pictures of {min(args.number, len(dataset))} samples, and {page}\n")
    return 0


def _write_pictures(dataset: Any, folder: Path, args: argparse.Namespace) -> list[dict[str, str]]:
    """Draw samples that are spread evenly over the data set, each in `views` augmented forms."""
    number = min(args.number, len(dataset))
    indices = [round(i * (len(dataset) - 1) / max(1, number - 1)) for i in range(number)]
    meta = dict(dataset.metainfo)
    meta["palette"] = class_colors(meta.get("palette"), len(meta["classes"]))
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"no folder can be made: {error.strerror}", str(folder), "name another --out"
        ) from error
    with track("drawing samples", number * args.views) as advance:
        for index in indices:
            for view in range(args.views):
                _seed(args.seed, index, view)
                picture, caption = draw_sample(dataset[index], meta)
                path = folder / f"{index:06d}_{view}.jpg"
                code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
                path.write_bytes(code)
                encoded = base64.b64encode(code).decode()
                written.append({"name": path.name, "caption": f"{path.name}: {caption}", "code": encoded})
                advance(1)
    return written


def _seed(*numbers: int) -> None:
    """Make a view depend on nothing but its numbers, so that the same command draws the same pictures."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _page(cfg: Config, args: argparse.Namespace, size: int, pictures: list[dict[str, str]]) -> str:
    steps = " > ".join(_steps(cfg[f"{args.split}_dataloader"].dataset))
    title = f"{Path(args.config).stem}: {args.split} samples"
    text = f"{len(pictures)} pictures of a data set of {size:,}, as they are before normalisation."
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(title=title, text=text, steps=steps, samples=pictures)
    )


def _steps(dataset: dict[str, Any]) -> Iterator[str]:
    while "pipeline" not in dataset and "dataset" in dataset:  # a wrapper
        dataset = dataset["dataset"]
    for step in dataset.get("pipeline", ()):
        yield step["type"]
