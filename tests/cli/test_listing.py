import pytest

from convnext_dense.cli import main
from convnext_dense.config_files import shipped_configs
from convnext_dense.models.arch import ARCHS
from convnext_dense.weights.published import published_weights

NAMES = {"configs": shipped_configs(), "models": ARCHS, "weights": published_weights()}


def listed(capsys, *words):
    assert main(["list", *words]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("what", NAMES)
def test_names_alone(what, capsys):
    assert listed(capsys, what, "--names") == list(NAMES[what])


@pytest.mark.parametrize("what", NAMES)
def test_a_table_has_every_name_and_fits_a_terminal(what, capsys):
    lines = listed(capsys, what)
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(NAMES[what])


def test_configs_are_listed_with_task_parameters_and_score(capsys):
    lines = listed(capsys)
    tasks = [line.partition("  ")[0] for line in lines if "params  " in line]
    assert tasks == [
        "Semantic segmentation",
        "Semantic segmentation, small",
        "Instance detection",
        "Instance detection, small",
    ]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  ")}
    assert rows["upernet_convnext_xl_in22k"] == "391 M 53.6 mIoU, 54.0 ms+flip"
    assert rows["mask_rcnn_convnext_t"] == "48 M 46.2 box AP, 41.7 mask AP"
    assert rows["upernet_convnext_atto_shapes"] == "4.1 M mIoU 44.1"


def test_models_are_listed_with_their_published_scores(capsys):
    rows = {line.split()[0]: line.split() for line in listed(capsys, "models") if line}
    assert rows["tiny"][1:] == ["3-3-9-3", "96-192-384-768", "27.8", "M", "82.1", "82.9"]
    assert rows["v2_huge"][-4:] == ["657.5", "M", "86.3", "88.7"]
