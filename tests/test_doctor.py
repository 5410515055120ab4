"""`convnext-dense doctor`, in this environment and in ones that lack something."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convnext_dense.cli import main
from convnext_dense.doctor import Finding, examine

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What is found here, by name."""
    data = tmp_path_factory.mktemp("data")
    (data / "shapes/images/train").mkdir(parents=True)
    (data / "shapes/images/train/0001.png").touch()
    return {finding.name: finding for finding in examine(data)}


def doctor(tmp_path, verb=("doctor",), **modules):
    """Run the doctor where some modules fail as given; returns exit code, standard output and error."""
    for name, failure in modules.items():
        (tmp_path / f"{name}.py").write_text(failure)
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "convnext_dense.cli", *verb],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_sound_installation(findings):
    import mmcv
    import torch

    assert [f for f in findings.values() if f.state == "missing"] == []
    assert findings["torch"].text == torch.__version__
    assert findings["mmcv"].text == mmcv.__version__
    assert "roi_align" in findings["operators"].text
    assert findings["this toolkit"].text.endswith(f"configs in {ROOT / 'configs'}")
    assert "free in" in findings["disk"].text


def test_data_sets_are_found_or_said_how_to_get(findings):
    assert findings["shapes"].state == "ok" and "1 training images" in findings["shapes"].text
    coco = findings["COCO"]
    assert coco.state == "note" and re.fullmatch(
        r"convnext-dense prepare-data coco --root \S+/coco", coco.fix
    )


def test_json_and_exit_code(capsys, tmp_path):
    assert main(["doctor", "--json", "--data", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found[0]) == {"state", "name", "text", "fix"}
    assert {"Python", "torch", "device", "mmdet", "operators", "disk", "COCO"} <= {f["name"] for f in found}


def test_what_ails_is_shown_with_what_mends_it(monkeypatch, capsys):
    found = [Finding("ok", "Python", "3.12"), Finding("missing", "mmcv", "not installed", "pip install x")]
    monkeypatch.setattr("convnext_dense.doctor.examine", lambda data: found)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["missing", "mmcv", "not", "installed"]
    assert lines[2].strip() == "fix: pip install x"
    assert lines[-1] == "needed and missing: mmcv"


def test_without_torch(tmp_path):
    code, said, error = doctor(tmp_path, torch='raise ModuleNotFoundError("no torch", name="torch")')
    assert (code, error) == (1, "")
    assert re.search(r'missing +torch +not installed\n +fix: pip install "torch>=', said)
    assert said.endswith("needed and missing: torch\n")


def test_with_a_torch_that_does_not_load(tmp_path):
    code, said, error = doctor(tmp_path, torch='raise OSError("libcudart.so.12: cannot open shared object")')
    assert (code, error) == (1, "")
    assert re.search(r"missing +torch +does not load: OSError: libcudart", said)
    assert 'fix: pip install --force-reinstall --no-deps "torch>=' in said
    assert re.search(r"missing +mmcv +.*\n(.*\n)?.*fix: mend torch first", said)


def test_the_other_verbs_lead_to_the_doctor_where_torch_does_not_load(tmp_path):
    code, said, error = doctor(
        tmp_path, verb=["train", "upernet_convnext_t"], torch='raise OSError("no libcudart")'
    )
    assert (code, said) == (2, "")
    assert error.startswith("error: a library does not load: OSError: no libcudart\n")
    assert "convnext-dense doctor" in error and len(error.splitlines()) == 3


def test_without_a_window_system(tmp_path):
    code, said, _ = doctor(tmp_path, cv2='raise ImportError("libGL.so.1: cannot open shared object file")')
    assert code == 1
    assert re.search(r"missing +OpenCV +wants libGL", said)
    assert "fix: pip install --force-reinstall --no-deps opencv-python-headless" in said


def test_with_a_package_of_a_version_that_does_not_fit(tmp_path):
    for name, lines in (
        ("convnext_dense", "Requires-Dist: onedl-mmcv<2.4,>=2.3.6\nRequires-Dist: nowhere-to-be-found>=1"),
        ("onedl_mmcv", ""),
    ):
        (tmp_path / f"{name}-0.0.1.dist-info").mkdir()
        name = name.replace("_", "-")
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n{lines}\n"
        (tmp_path / f"{name.replace('-', '_')}-0.0.1.dist-info/METADATA").write_text(text)
    code, said, _ = doctor(tmp_path, torch='raise OSError("so that the rest is quick")')
    assert code == 1
    assert re.search(r"missing +requirements +onedl-mmcv\S+: 0.0.1\n +nowhere-to-be-found>=1: absent", said)
    assert re.search(r'fix: pip install "onedl-mmcv\S+" "nowhere-to-be-found>=1"', said)
