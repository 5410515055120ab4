import subprocess
import sys

import pytest

from convnext_dense.cli import main
from convnext_dense.config_files import shipped_configs
from convnext_dense.engine.config import load_config


@pytest.mark.parametrize("name", ["upernet_convnext_b", "cascade_mask_rcnn_convnext_atto_shapes"])
def test_a_written_config_stands_alone_and_is_the_same(name, tmp_path, capsys):
    out = tmp_path / "deep/mine.py"
    words = ["--cfg-options", "train_dataloader.batch_size=7", "--out", str(out)]
    assert main(["config", name, *words]) == 0
    assert f"next: convnext-dense train {out}" in capsys.readouterr().out
    assert "_base_ =" not in out.read_text()
    written, shipped = load_config(out), load_config(shipped_configs()[name])
    shipped.train_dataloader.batch_size = 7
    assert written.to_dict() == shipped.to_dict(), "tuples stay tuples"


def test_a_config_is_printed(capsys):
    assert main(["config", "mask_rcnn_convnext_t"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# mask_rcnn_convnext_t of convnext-dense ")
    names = {}
    exec(compile(text, "printed", "exec"), names)
    assert names["model"]["type"] == "MaskRCNN"


@pytest.mark.full
def test_a_written_config_runs_under_stock_mmengine(tmp_path):
    out = tmp_path / "mine.py"
    assert main(["config", "upernet_convnext_t", "--out", str(out)]) == 0
    script = (
        "import sys; from mmengine.config import Config; from mmengine.registry import MODELS\n"
        "import torch; cfg = Config.fromfile(sys.argv[1]); cfg.model.backbone.init_cfg = None\n"
        "with torch.device('meta'), MODELS.switch_scope_and_registry('mmseg') as models:\n"
        "    print(type(models.build(cfg.model).backbone).__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, out], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "convnext_dense.models.convnext"


def test_nothing_is_overwritten_unasked(tmp_path, capsys):
    out = tmp_path / "mine.py"
    out.write_text("precious")
    command = ["config", "upernet_convnext_t", "--out", str(out)]
    assert main(command) == 2
    assert "there already" in capsys.readouterr().err and out.read_text() == "precious"
    assert main([*command, "--overwrite"]) == 0
    assert load_config(out).default_scope == "mmseg"
    assert main(["config", "upernet_convnext_t", "--out", str(tmp_path / "mine.yaml")]) == 2
    assert "--out" in capsys.readouterr().err
