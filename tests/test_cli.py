import subprocess
import sys
from pathlib import Path

import pytest

from convnext_dense.cli import main

ROOT = Path(__file__).parents[1]


def test_help_does_not_load_the_libraries():
    """`--help` answers at once because neither torch nor OpenMMLab is imported."""
    code = (
        "import sys; from convnext_dense.cli import build_parser; build_parser().format_help(); "
        "print([m for m in ('torch', 'mmengine', 'cv2', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_the_package_is_light():
    code = "import convnext_dense, sys; print('torch' in sys.modules, convnext_dense.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == "False"


@pytest.mark.parametrize(
    "verb",
    ["train", "test", "predict", "prepare-data", "convert-data", "check-data", "browse-data", "new-config"],
)
def test_each_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "usage: convnext-dense " + verb in capsys.readouterr().out


def test_a_missing_config_is_met_with_the_nearest_name(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["train", "configs/upernet_convnext_bb.py"]) == 2
    message = capsys.readouterr().err
    assert "config file not found" in message
    assert "did you mean configs/upernet_convnext_b.py?" in message
    assert "Traceback" not in message


def test_debug_shows_the_traceback(capsys):
    assert main(["train", "no.py", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "tool",
    [
        "train.py",
        "test.py",
        "predict.py",
        "prepare_data.py",
        "convert_data.py",
        "check_data.py",
        "browse_data.py",
        "new_config.py",
    ],
)
def test_tools_call_the_command_line(tool):
    lines = (ROOT / "tools" / tool).read_text().splitlines()
    code = [line for line in lines if line and not line.startswith(('"""', "import", "from"))]
    assert len(code) == 1, "tools hold no logic"
    assert code[0].startswith("sys.exit(main([")


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh"])
def test_distributed_scripts_print_their_usage(script):
    result = subprocess.run([ROOT / "tools" / script], capture_output=True, text=True)
    assert result.returncode == 2
    assert f"tools/{script} CONFIG" in result.stderr
