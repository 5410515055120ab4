"""`tools/train.py` and `tools/test.py` as a user runs them, in this process."""

import json

import pytest
import torch

from convnext_dense.cli import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def work_dir(tmp_path):
    return tmp_path / "run"


def test_a_run_leaves_config_environment_metrics_checkpoints_and_log(trained):
    config, work_dir = trained
    names = {path.name for path in work_dir.iterdir()}
    assert {config.name, "config.json", "env.json", "metrics.json", "metrics.jsonl", "iter_4.pth"} <= names
    assert json.loads((work_dir / "config.json").read_text())["model"]["type"] == "BandedEncoderDecoder"
    assert json.loads((work_dir / "env.json").read_text())["torch"] == torch.__version__
    assert 0 <= json.loads((work_dir / "metrics.json").read_text())["mIoU"] <= 100
    assert list(work_dir.glob("*.log")), "the log file"


def test_a_checkpoint_is_plain_data(trained):
    """Nothing but tensors, numbers and strings: readable without any allow-list."""
    _, work_dir = trained
    checkpoint = torch.load(work_dir / "iter_4.pth", weights_only=True)
    assert json.loads(checkpoint["meta"]["config_json"])["model"]["backbone"]["type"] == "ConvNeXt"
    assert checkpoint["meta"]["iter"] == 4
    assert checkpoint["meta"]["dataset_meta"]["classes"][0] == "background"


def test_the_tested_score_is_the_validated_one(trained, tmp_path):
    config, work_dir = trained
    validated = json.loads((work_dir / "metrics.json").read_text())
    arguments = ("test", config, work_dir / "iter_4.pth", "--work-dir", tmp_path / "test")
    assert run(*arguments, "--out", tmp_path / "maps", "--show-dir", tmp_path / "pictures") == 0
    tested = json.loads((tmp_path / "test/metrics.json").read_text())
    assert tested["mIoU"] == validated["mIoU"]
    assert len(list((tmp_path / "maps").glob("*.png"))) == 2
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_resuming_brings_back_optimizer_schedule_and_log(trained, tmp_path):
    config, work_dir = trained
    arguments = ("train", config, "--work-dir", tmp_path / "resumed", "--resume", work_dir / "iter_2.pth")
    assert run(*arguments) == 0
    whole = torch.load(work_dir / "iter_4.pth", weights_only=True)
    resumed = torch.load(tmp_path / "resumed/latest/iter_4.pth", weights_only=True)
    assert resumed["meta"]["iter"] == 4
    assert all(state["step"] == 4 for state in resumed["optimizer"]["state"].values())
    assert resumed["param_schedulers"] == whole["param_schedulers"]
    losses = (checkpoint["message_hub"]["log_scalars"]["train/loss"] for checkpoint in (whole, resumed))
    first, second = (losses_of_run["log"] for losses_of_run in losses)
    assert len(second) == 4
    assert first[:2] == second[:2], "the steps before the interruption"


def test_resume_without_a_checkpoint_stops(toy_config, work_dir, capsys):
    assert run("train", toy_config("none"), "--work-dir", work_dir, "--resume") == 2
    message = capsys.readouterr().err
    assert "no checkpoint to resume from" in message
    assert str(work_dir) in message


def test_a_file_of_weights_is_no_run_to_resume(trained, tmp_path, capsys):
    config, work_dir = trained
    weights = tmp_path / "weights.pth"
    torch.save({"state_dict": torch.load(work_dir / "iter_4.pth", weights_only=True)["state_dict"]}, weights)
    assert run("train", config, "--work-dir", tmp_path / "again", "--resume", weights) == 2
    assert "--load-from" in capsys.readouterr().err


def test_load_from_starts_a_new_run_from_the_weights(toy_config, trained, tmp_path):
    """With learning rate 0 the weights of the new run are those of the old."""
    _, work_dir = trained
    frozen = toy_config("frozen", **{"optim_wrapper.optimizer.lr": 0.0, "train_cfg.max_iters": 2})
    arguments = ("train", frozen, "--work-dir", tmp_path / "new", "--load-from", work_dir / "iter_4.pth")
    assert run(*arguments) == 0
    old = torch.load(work_dir / "iter_4.pth", weights_only=True)["state_dict"]
    new = torch.load(tmp_path / "new/latest/iter_2.pth", weights_only=True)["state_dict"]
    name = "backbone.stages.2.0.pwconv1.weight"
    assert torch.equal(old[name], new[name])


@pytest.mark.parametrize("entry", ["load_from", "backbone", "model", "test"])
def test_weights_that_match_nothing_never_start_a_run(entry, toy_config, work_dir, tmp_path, capsys):
    weights = tmp_path / "wrong.pth"
    torch.save({"encoder.layer.weight": torch.zeros(3, 3)}, weights)
    pretrained = dict(type="Pretrained", checkpoint=str(weights))
    changes = {"backbone": {"model.backbone.init_cfg": pretrained}, "model": {"model.init_cfg": pretrained}}
    config = toy_config(entry, **changes.get(entry, {}))
    arguments = ["train", config, "--work-dir", work_dir]
    if entry == "load_from":
        arguments += ["--load-from", weights]
    if entry == "test":
        arguments = ["test", config, weights, "--work-dir", work_dir]
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert "wrong.pth" in message
    assert "encoder.layer.weight" in message
    assert not list(work_dir.rglob("*.pth")), "no step was made"


def test_a_checkpoint_of_a_backbone_alone_is_not_tested(trained, tmp_path, capsys):
    config, work_dir = trained
    state = torch.load(work_dir / "iter_4.pth", weights_only=True)["state_dict"]
    backbone = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    torch.save({"state_dict": backbone}, tmp_path / "backbone.pth")
    assert run("test", config, tmp_path / "backbone.pth", "--work-dir", tmp_path / "test") == 2
    assert "decode_head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.decode_head.type": "UPerHaed"}, "did you mean 'UPerHead'"),
        ({"model.decode_head.chanels": 3}, "takes no argument 'chanels'"),
        ({"train_dataloader.dataset.data_root": "nowhere"}, "the data set is not there: nowhere"),
        ({"val_dataloader.dataset.data_prefix.img_path": "images/vall"}, "images/vall"),
    ],
)
def test_a_mistake_in_the_config_is_named(change, message, toy_config, work_dir, capsys):
    name = f"wrong_{abs(hash(message))}"
    assert run("train", toy_config(name, **change), "--work-dir", work_dir) == 2
    assert message in capsys.readouterr().err


def test_a_work_dir_that_cannot_be_made_is_named(toy_config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("train", toy_config("dir"), "--work-dir", tmp_path / "file" / "run") == 2
    assert "--work-dir" in capsys.readouterr().err


def test_amp_on_the_cpu_is_fp32_with_one_notice(toy_config, work_dir, capsys):
    config = toy_config("amp", **{"train_cfg.max_iters": 2})
    assert run("train", config, "--work-dir", work_dir, "--amp") == 0
    if not torch.cuda.is_available():
        assert capsys.readouterr().out.count("mixed precision is off") == 1


def test_auto_scale_lr_multiplies_the_rate_by_the_batch_ratio(toy_config, work_dir):
    changes = {"train_cfg.max_iters": 2, "auto_scale_lr": dict(enable=False, base_batch_size=16)}
    config = toy_config("scaled", **changes, param_scheduler=None)
    assert run("train", config, "--work-dir", work_dir, "--auto-scale-lr") == 0
    groups = torch.load(work_dir / "latest/iter_2.pth", weights_only=True)["optimizer"]["param_groups"]
    base = json.loads((work_dir / "latest/config.json").read_text())["optim_wrapper"]["optimizer"]["lr"]
    assert groups[0]["lr"] == pytest.approx(base * 2 / 16)


def test_plain_lines_show_loss_rate_speed_waiting_memory_and_time_left(capsys, toy_config, work_dir):
    """Where the output is no terminal."""
    assert run("train", toy_config("lines"), "--work-dir", work_dir) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("iter 4/4"))
    for part in ("loss ", "lr ", "it/s", "data-wait ", "mem ", "left "):
        assert part in line


def test_testing_leaves_the_record_of_the_training_alone(trained, tmp_path, monkeypatch):
    """Without --work-dir the scores go to a folder of their own below the training's."""
    config, work_dir = trained
    before = (work_dir / "config.json").read_text()
    monkeypatch.chdir(tmp_path)
    assert run("test", config, work_dir / "iter_4.pth") == 0
    assert (tmp_path / "work_dirs" / config.stem / "test/metrics.json").exists()
    assert (work_dir / "config.json").read_text() == before


def test_text_in_a_checkpoint_is_not_executed_on_resume(trained, tmp_path):
    config, work_dir = trained
    marker = tmp_path / "executed"
    checkpoint = torch.load(work_dir / "iter_2.pth", weights_only=True)
    checkpoint["meta"]["config"] = f"open({str(marker)!r}, 'w')"
    torch.save(checkpoint, tmp_path / "hostile.pth")
    assert run("train", config, "--work-dir", tmp_path / "run", "--resume", tmp_path / "hostile.pth") == 0
    assert not marker.exists()


def test_a_data_set_without_a_matching_image_stops_instead_of_waiting_for_one(toy_config, work_dir, capsys):
    config = toy_config("empty", **{"train_dataloader.dataset.img_suffix": ".tiff"})
    assert run("train", config, "--work-dir", work_dir) == 2
    assert "there are no images whose name ends in '.tiff'" in capsys.readouterr().err
    assert run("train", config, "--work-dir", work_dir, "--skip-check") == 2
    assert "a data set has no image" in capsys.readouterr().err


def test_repeated_cfg_options_all_count(toy_config, work_dir):
    config = toy_config("repeated")
    options = ("--cfg-options", "train_cfg.max_iters=2", "--cfg-options", "train_dataloader.batch_size=3")
    assert run("train", config, "--work-dir", work_dir, *options) == 0
    saved = json.loads((work_dir / "latest/config.json").read_text())
    assert saved["train_cfg"]["max_iters"] == 2
    assert saved["train_dataloader"]["batch_size"] == 3


def test_a_part_of_a_config_is_no_config(work_dir, tmp_path, capsys):
    (tmp_path / "part.py").write_text("train_cfg = dict(max_iters=3)\n")
    assert run("train", tmp_path / "part.py", "--work-dir", work_dir) == 2
    assert "only a part" in capsys.readouterr().err


@pytest.mark.full
def test_compiling_and_test_time_augmentation(toy_config, tmp_path, capsys):
    """`--compile` leaves the names in the checkpoint as they are, and `--tta` reads it."""
    config = toy_config("tta", "upernet_convnext_t.py", **{"train_cfg.max_iters": 2})
    assert run("train", config, "--work-dir", tmp_path / "run", "--compile") == 0
    assert "graphs in brackets: backbone (" in capsys.readouterr().out
    names = torch.load(tmp_path / "run/latest/iter_2.pth", weights_only=True)["state_dict"]
    assert "backbone.stages.0.0.dwconv.weight" in names
    arguments = ("test", config, tmp_path / "run/latest/iter_2.pth", "--work-dir", tmp_path / "test")
    assert run(*arguments, "--tta", "--compile") == 0
    assert "mIoU" in json.loads((tmp_path / "test/metrics.json").read_text())
