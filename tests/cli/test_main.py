import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from convnext_dense import __version__
from convnext_dense.cli import VERBS, build_parser, main

ROOT = Path(__file__).parents[2]
TOOLS = sorted(ROOT.glob("tools/*.py"))


def helped(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["", *(verb.name for verb in VERBS)])
def test_help_does_not_load_the_libraries(verb):
    """`--help` answers at once because neither torch nor OpenMMLab is imported."""
    code = (
        "import sys; from convnext_dense.cli import main\n"
        f"try: main({[*verb.split(), '--help']})\n"
        "except SystemExit: print({'torch', 'mmengine', 'cv2', 'matplotlib'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_importing_the_package_is_light():
    code = "import convnext_dense, sys; print('torch' in sys.modules, convnext_dense.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == "False"


def test_the_console_script_is_installed():
    """`tests/test_wheel.py` drives it in an environment of its own."""
    program = Path(sys.executable).with_name("convnext-dense")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"convnext-dense {__version__}\n"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_verb_has_help_with_three_examples_that_parse(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = helped(capsys, verb.name)
    assert "usage: convnext-dense " + verb.name in text
    assert max(map(len, text.splitlines())) <= 80
    examples = text.partition("examples:\n")[2].replace("\\\n", "")
    commands = [shlex.split(line.partition(">")[0]) for line in examples.splitlines()]
    assert len(commands) == 3
    for program, *words in commands:
        assert program == "convnext-dense"
        assert build_parser().parse_args(words).verb == verb.name


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.name)
def test_tools_call_the_command_line(tool, capsys):
    lines = tool.read_text().splitlines()
    code = [line for line in lines if line and not line.startswith(('"""', "import", "from"))]
    verb = tool.stem.replace("_", "-")
    assert code == [f'sys.exit(main(["{verb}", *sys.argv[1:]]))'], "tools hold no logic"
    assert verb in {verb.name for verb in VERBS}


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh"])
def test_distributed_scripts_print_their_usage(script):
    result = subprocess.run([ROOT / "tools" / script], capture_output=True, text=True)
    assert result.returncode == 2
    assert f"tools/{script} CONFIG" in result.stderr


def test_without_a_verb_the_help_is_shown(capsys):
    assert main([]) == 2
    assert re.findall(r"^    (\w[\w-]*)", capsys.readouterr().out, re.M) == [verb.name for verb in VERBS]


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (["trian", "upernet_convnext_b"], "no such verb: 'trian'", "did you mean 'train'?"),
        (["upernet_convnext_b.py"], "no such verb", "`convnext-dense train upernet_convnext_b.py`"),
        (["train", "upernet_convnext_bb"], "no config 'upernet_convnext_bb'", "upernet_convnext_b or "),
        (["train", "upernet_convnext_b", "--workdir=x"], "option: --workdir", "did you mean --work-dir?"),
        (["train", "--hepl"], "unknown option: --hepl", "did you mean --help?"),
        (["train"], "arguments are required: config", "`convnext-dense train --help`"),
        (["train", "upernet_convnext_b", "--launcher", "slrum"], "--launcher: no such choice", "'slurm'"),
        (["train", "upernet_convnext_b", "more"], "one argument too many: 'more'", "quotes"),
        (["prepare-data", "shape"], "no such choice: 'shape'", "did you mean 'shapes'?"),
        (["prepare-data", "shapes", "--sede", "3"], "unknown option: --sede", "did you mean --seed?"),
        (["train", "upernet_convnext_b", "--cfg-options", "default_scope=mmsegg"], "mmsegg", "'mmseg'"),
        (["list", "weigths"], "no such choice: 'weigths'", "did you mean 'weights'?"),
        (["predict", "x.pth", "a.jpg", "--config", "upernet_convnext_tt"], "no config", "upernet_convnext_t"),
    ],
)  # fmt: skip
def test_a_mistyped_command_is_met_with_what_was_meant(words, what, fix, capsys):
    assert main(words) == 2
    first, where, last = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and what in first
    assert where.startswith("  where: ")
    assert last.startswith("  fix:   ") and fix in last


def test_a_mistyped_name_is_told_before_the_libraries_load():
    code = (
        "import sys; from convnext_dense.cli import main\n"
        "assert main(['train', 'upernet_convnext_bb']) == 2; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_debug_shows_the_traceback(capsys):
    assert main(["train", "no.py", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in `convnext-dense list weights | head -1`."""
    command = f"{shlex.quote(sys.executable)} -m convnext_dense.cli list weights | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.stderr == ""


def test_messages_show_commands_as_the_user_types_them(tmp_path):
    """Who calls the scripts is shown scripts."""
    words = ["shapes", "--root", str(tmp_path / "s"), "--train", "1", "--val", "1", "--size", "64"]
    said = {
        script: subprocess.run(
            [sys.executable, *program, *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for script, program in (
            ("python tools/train.py", ["tools/prepare_data.py"]),
            ("convnext-dense train", ["-m", "convnext_dense.cli", "prepare-data"]),
        )
    }
    for program, text in said.items():
        assert f"next: {program} configs/demo/upernet_convnext_atto_shapes.py" in text
