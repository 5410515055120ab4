"""`make demo`, whole: the script behind it, in a copy of the checkout."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_demo_trains_to_what_the_readme_says_and_draws_pictures(tmp_path):
    for part in ("tools", "configs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    binaries = Path(sys.executable).parent
    result = subprocess.run(
        [tmp_path / "tools/demo.sh", binaries], cwd=tmp_path, capture_output=True, text=True, timeout=1700
    )
    assert result.returncode == 0, result.stdout + result.stderr
    run = tmp_path / "work_dirs/upernet_convnext_atto_shapes"
    (told,) = re.findall(r"to a validation mIoU of (\d+\.\d+)", (ROOT / "README.md").read_text())
    # Threads add in another order on another machine, so that the runs are not the same to the digit.
    assert json.loads((run / "test/metrics.json").read_text())["mIoU"] == pytest.approx(float(told), abs=4)
    pictures = list((run / "overlays").glob("*.png"))
    assert len(pictures) == 20
    assert str(run.relative_to(tmp_path) / "overlays") in result.stdout, "it says where they are"
