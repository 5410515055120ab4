"""The COCO metric on one, two and three processes."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing

from convnext_dense.data.coco import category_names

from .coco_samples import evaluate, perturbed_predictions, shapes_with_crowds


def _evaluate_on_rank(rank, world_size, port, ann_file, predictions, indices, folder):
    """Evaluate a rank's share, in a process of its own."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size
    )
    share = [predictions[i] for i in indices[rank]]
    values, _ = evaluate(ann_file, share, size=len(predictions))
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def shares(sampler, number, world_size):
    """Return the indices of each rank: as mmengine's sampler, which repeats images, or unequal blocks."""
    if sampler == "default":
        padded = list(range(number)) + list(range(-number % world_size))
        return [padded[rank::world_size] for rank in range(world_size)]
    return [part.tolist() for part in np.array_split(np.arange(number), world_size)]


@pytest.mark.parametrize("sampler", ["default", "blocks"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_every_image_counts_once_on_any_number_of_processes(tmp_path, world_size, sampler):
    shapes = shapes_with_crowds(tmp_path / "data", 7)
    predictions = perturbed_predictions(shapes, category_names(shapes))
    assert len(predictions) == 7
    alone, _ = evaluate(shapes, predictions)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (world_size, port, shapes, predictions, shares(sampler, 7, world_size), tmp_path)
    # Forked, as importing mmdet again takes longer than the test.
    multiprocessing.start_processes(_evaluate_on_rank, arguments, world_size, start_method="fork")
    for rank in range(world_size):
        values = json.loads((tmp_path / f"{rank}.json").read_text())
        assert values == pytest.approx(alone, abs=1e-12)
