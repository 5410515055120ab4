"""Names and links of runs' folders."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.engine.run_dirs import (
    BEST,
    LAST,
    LATEST,
    adopt_best,
    checkpoint_to_resume,
    link_checkpoint,
    run_dir,
    runs,
    set_latest,
)
from convnext_dense.errors import UserError

NOW = "20260102_030405"


def new_run(work_dir, time=NOW, checkpoint=b""):
    run = run_dir(Config(), work_dir, time)
    if checkpoint:
        (run / LAST).write_bytes(checkpoint)
    return run


@pytest.fixture
def _no_links(monkeypatch):
    """A file system without links of either kind."""

    def refuse(*_, **__):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(os, "link", refuse)


def test_each_training_has_its_own_folder_even_within_a_second(tmp_path):
    folders = [new_run(tmp_path) for _ in range(11)]
    assert [folder.name for folder in folders[:3]] == [NOW, f"{NOW}_2", f"{NOW}_3"]
    assert runs(tmp_path)[0] == folders[-1], "the eleventh, not the ninth"


def test_a_resumed_run_goes_on_in_its_folder(tmp_path):
    (tmp_path / "work").mkdir()
    run = new_run(tmp_path / "work")
    for place in (tmp_path / "work", run):
        for checkpoint in (run / LAST, Path(os.path.relpath(run / LAST))):
            cfg = Config(dict(resume=True, load_from=str(checkpoint)))
            assert run_dir(cfg, place, "20260102_040000") == run
    assert len(runs(tmp_path / "work")) == 1
    fine_tuned = Config(dict(resume=False, load_from=str(run / LAST)))
    assert run_dir(fine_tuned, tmp_path / "work", "20260102_040000") != run


def test_a_run_resumed_elsewhere_has_a_new_folder_there(tmp_path):
    run = new_run(tmp_path)
    (tmp_path / "other").mkdir()
    cfg = Config(dict(resume=True, load_from=str(run / LAST)))
    assert run_dir(cfg, tmp_path / "other", "20260102_040000") == tmp_path / "other/20260102_040000"


@pytest.mark.parametrize("links", [True, False])
def test_auto_resume_takes_the_run_that_latest_names_or_the_newest(tmp_path, links, request):
    if not links:
        request.getfixturevalue("_no_links")
    first = new_run(tmp_path, "20260101_000000", b"1")
    second = new_run(tmp_path, "20260102_000000", b"2")
    assert checkpoint_to_resume("auto", str(tmp_path)) == str(second / LAST)
    set_latest(second)
    set_latest(first)  # resumed by name
    assert (tmp_path / LATEST).is_symlink() == links
    assert checkpoint_to_resume("auto", str(tmp_path)) == str(first / LAST)
    set_latest(new_run(tmp_path, "20260103_000000"))
    assert checkpoint_to_resume("auto", str(tmp_path)) == str(second / LAST), "the newest with a checkpoint"
    assert checkpoint_to_resume("auto", str(first)) == str(first / LAST), "the folder of one run"


def test_auto_resume_reads_a_folder_of_the_stock_tools(tmp_path):
    (tmp_path / "iter_2.pth").write_bytes(b"")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_2.pth"))
    assert checkpoint_to_resume("auto", str(tmp_path)) == str(tmp_path / "iter_2.pth")
    (tmp_path / "iter_2.pth").unlink()
    with pytest.raises(UserError, match="the last checkpoint is gone"):
        checkpoint_to_resume("auto", str(tmp_path))


def test_something_else_called_latest_is_left_alone(tmp_path):
    (tmp_path / LATEST).mkdir()
    with pytest.raises(UserError, match="move it away"):
        set_latest(new_run(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NOW, LATEST]


@pytest.mark.parametrize("links", [True, False])
def test_the_second_name_of_a_checkpoint_outlives_the_first(tmp_path, links, request):
    if not links:
        request.getfixturevalue("_no_links")
    for number in (1, 2):
        file = tmp_path / f"iter_{number}.pth"
        file.write_bytes(bytes([number]))
        for _ in range(2):
            link_checkpoint(file, LAST)
        file.unlink()
        assert (tmp_path / LAST).read_bytes() == bytes([number])
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("links", [True, False])
def test_a_best_checkpoint_is_taken_along_and_left_where_it_is(tmp_path, links, request):
    first, second = new_run(tmp_path), new_run(tmp_path)
    best = first / "best_mIoU_iter_1.pth"
    best.write_bytes(b"best")
    if not links:
        request.getfixturevalue("_no_links")
    adopt_best(best, second)
    assert (second / BEST).read_bytes() == b"best"
    (second / best.name).unlink()
    assert best.read_bytes() == (second / BEST).read_bytes() == b"best"
    adopt_best(best, first)
    assert best.read_bytes() == b"best"
