"""`convnext-dense VERB`; the scripts in `tools/` call the same code.

Only argument parsing happens here, so that `--help` answers at once: a verb loads its libraries when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from ._version import __version__
from .errors import EXIT_INTERRUPTED, UserError

_CFG_OPTIONS_HELP = (
    "override config settings, e.g. train_dataloader.batch_size=4 model.backbone.with_cp=True "
    'optim_wrapper.optimizer.betas="(0.9,0.98)" model.backbone.init_cfg=None'
)
#: As `convnext_dense.weights.convert` has them, which takes seconds to import.
_WEIGHT_FORMATS = ("original", "timm", "hf", "torchvision", "mmpretrain", "safetensors")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints (default: work_dirs/<config name>); "
        "each training gets a folder of its own in it, named by the time",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_CFG_OPTIONS_HELP
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="how the processes were started",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    # torchrun's predecessor passed the rank as a flag; torchrun itself uses the environment.
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)


def _add_fine_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fine-tuning")
    group.add_argument(
        "--keep-class-rows",
        action="store_true",
        help="with --load-from: keep the heads' rows of classes with the same name as the checkpoint's",
    )
    group.add_argument(
        "--frozen-stages",
        type=int,
        choices=range(5),
        metavar="0-4",
        help="train none of the backbone's first stages",
    )
    group.add_argument(
        "--ema",
        type=float,
        metavar="MOMENTUM",
        help="average the weights over about 1/MOMENTUM steps, and evaluate and save the average",
    )
    group.add_argument(
        "--early-stopping", type=int, metavar="N", help="stop when N evaluations in a row are no better"
    )
    group.add_argument(
        "--repeat-rare",
        type=float,
        metavar="SHARE",
        help="detection: repeat images with classes that fewer than this share of the images show",
    )
    group.add_argument(
        "--class-weights", action="store_true", help="segmentation: weigh rare classes more in the loss"
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file, e.g. configs/upernet_convnext_b.py")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="continue the run of the work dir from its newest checkpoint, or from PATH",
    )
    parser.add_argument(
        "--load-from", metavar="PATH", help="start from the weights of a checkpoint (a new run)"
    )
    parser.add_argument("--skip-check", action="store_true", help="train without a look at the data first")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run a few iterations, say what the training would be and take, and stop",
    )
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's event files")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="record a few iterations: a trace, the dearest operators, the share of waiting for data",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (fp16)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the backbone")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the total batch size"
    )
    parser.add_argument(
        "--auto-scale",
        action="store_true",
        help="adapt the recipe to the number of GPUs: accumulate gradients up to the published batch, "
        "keep the samples of the schedule, and say what was changed",
    )
    parser.add_argument(
        "--auto-scale-norm",
        choices=("BN", "GN"),
        default="BN",
        help="with --auto-scale, what replaces SyncBN in one process (default: BN)",
    )
    _add_fine_tuning(parser)
    _add_common(parser)


def _add_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file, e.g. work_dirs/<config>/latest/best.pth")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation as the config's tta_model says"
    )
    parser.add_argument("--out", metavar="DIR", help="also write the predictions there (PNG or COCO JSON)")
    parser.add_argument(
        "--show-dir", metavar="DIR", help="draw the first predictions beside the truth, as PNG"
    )
    _add_common(parser)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint of a trained detector or segmentor")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image files, folders or globs")
    parser.add_argument(
        "--config", help="config file of the checkpoint (default: the one in it, or config.json beside it)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="predictions", help="folder of the results (default: predictions)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images of one size at once (default: 1)"
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        metavar="T",
        help="leave out objects that are less certain (default: none in the JSON, 0.3 in the pictures)",
    )
    parser.add_argument("--no-draw", action="store_true", help="write no pictures")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_prepare_data(parser: argparse.ArgumentParser) -> None:
    from .data.prepare import add_arguments

    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_convert_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", metavar="IN", help="checkpoint of any family: file, folder, URL or short name"
    )
    parser.add_argument(
        "out",
        nargs="?",
        metavar="OUT",
        help="file to write (.pth, .safetensors, …); with --to hf also a folder",
    )
    parser.add_argument("--to", choices=_WEIGHT_FORMATS, help="whose names, shapes and nesting to write")
    parser.add_argument(
        "--inspect", action="store_true", help="write nothing; print family, arch, task, shapes and classes"
    )
    parser.add_argument("--list", action="store_true", help="print the published weights by short name")
    parser.add_argument(
        "--lossy", action="store_true", help="leave out output norms and heads that have no place there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help="roi_align, nms, upernet_head (default: all)"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="times each side runs (default: 9)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument("--out", metavar="FILE", help="also write the results there, as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_convert_data(parser: argparse.ArgumentParser) -> None:
    from .data.convert import add_arguments

    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_check_data(parser: argparse.ArgumentParser) -> None:
    from .data.check import add_arguments

    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_new_config(parser: argparse.ArgumentParser) -> None:
    from .data.new_config import add_arguments

    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_browse_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file, e.g. configs/custom/mine.py")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: train")
    parser.add_argument(
        "--number", type=int, default=12, metavar="N", help="samples, spread over the data set (default: 12)"
    )
    parser.add_argument(
        "--views", type=int, default=2, metavar="K", help="augmented forms of each (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the augmentation (default: 0)")
    parser.add_argument(
        "--out", metavar="DIR", help="folder (default: work_dirs/<config name>/browse/<split>)"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_CFG_OPTIONS_HELP
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


#: verb → (what it does, adds its arguments, "module:function" that runs it)
_VERBS = {
    "train": ("train a model", _add_train, "convnext_dense.engine.launch:train"),
    "test": ("evaluate a checkpoint", _add_test, "convnext_dense.engine.launch:test"),
    "predict": ("predict images with a checkpoint", _add_predict, "convnext_dense.predict.files:run"),
    "convert-weights": (
        "convert or inspect a checkpoint",
        _add_convert_weights,
        "convnext_dense.weights.command:run",
    ),
    "prepare-data": ("get or make a data set", _add_prepare_data, "convnext_dense.data.prepare:run"),
    "check-data": ("find what is wrong with a data set", _add_check_data, "convnext_dense.data.check:run"),
    "new-config": ("write a config for a data set", _add_new_config, "convnext_dense.data.new_config:run"),
    "browse-data": ("draw augmented samples", _add_browse_data, "convnext_dense.report.browse:run"),
    "convert-data": (
        "convert annotations to COCO JSON or label maps",
        _add_convert_data,
        "convnext_dense.data.convert:run",
    ),
    "benchmark": ("time the toolkit against its peers", _add_benchmark, "convnext_dense.benchmark:run"),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `convnext-dense` with all its verbs."""
    parser = argparse.ArgumentParser(
        prog="convnext-dense", description="Detection and segmentation with ConvNeXt."
    )
    parser.add_argument("--version", action="version", version=f"convnext-dense {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, (summary, add_arguments, target) in _VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_arguments(sub)
        sub.set_defaults(target=target)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 2 a mistake of the user's, 130 interrupted).

    Args:
        argv: Arguments without the program's name; those of the process if None.
    """
    args = build_parser().parse_args(argv)
    module, function = args.target.split(":")
    try:
        return getattr(import_module(module), function)(args) or 0
    except UserError as error:
        if getattr(args, "debug", False):
            traceback.print_exc()
        if _reports():
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _reports() -> bool:
    """Whether this process tells of an error.

    Before the processes are joined they all meet the same mistakes, and one of each host tells. Later each
    has data of its own.
    """
    distributed = sys.modules.get("torch.distributed")
    joined = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return joined or os.environ.get("LOCAL_RANK", "0") == "0"


if __name__ == "__main__":
    sys.exit(main())
