"""A config that came with a checkpoint is data: nothing in it may run."""

import json
import pickle
import sys

import pytest
import torch

from convnext_dense import Predictor
from convnext_dense.engine.config import config_to_json, load_config, plain
from convnext_dense.errors import UserError
from convnext_dense.predict.saved_config import find_config

from ..configs.shipped import LEAVES, name_of

RAN = "ran.txt"


class _Payload:
    """A pickle of it writes a file when it is loaded."""

    def __reduce__(self):
        return exec, (f"open({RAN!r}, 'w').close()",)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A current folder with modules and files that leave a trace when they are run or loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil_module", "evil_package", "evil_package.registry"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # of the test before, which may have failed
    trace = f"open({RAN!r}, 'w').close()\ndef run(**kwargs): pass\n"
    (tmp_path / "evil_module.py").write_text(trace)
    (tmp_path / "evil_package").mkdir()
    for name in ("__init__.py", "registry.py"):
        (tmp_path / "evil_package" / name).write_text(trace)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_Payload()))
    (tmp_path / "evil_pickle").write_bytes(pickle.dumps(_Payload()))
    (tmp_path / "evil.py").write_text(trace)
    return tmp_path


def _set(content, path, value):
    *parents, leaf = path.split(".")
    for name in parents:
        content = content[int(name)] if isinstance(content, list) else content[name]
    content[int(leaf) if isinstance(content, list) else leaf] = value


STEP = "test_dataloader.dataset.pipeline.0"
WRITE = f"__import__('pathlib').Path('{RAN}').touch()"
HOSTILE = {
    "dotted type": ("model.backbone", {"type": "os.mkdir", "path": RAN}),
    "dotted type in the pipeline": (STEP, {"type": "os.mkdir", "path": RAN}),
    "function of a library": ("model.backbone", {"type": "mmengine.load", "file": "evil.pkl"}),
    "module as type": ("model.backbone", {"type": "evil_module"}),
    "function of a module as type": ("model.backbone", {"type": "evil_module.run"}),
    "scope before a type": ("model.backbone", {"type": "evil_package.ConvNeXt"}),
    "scope of a part": ("model.backbone._scope_", "evil_package"),
    "default scope": ("default_scope", "evil_package"),
    "custom import": ("custom_imports", {"imports": ["convnext_dense.register", "evil_module"]}),
    "custom import as text": ("custom_imports", {"imports": "evil_module"}),
    "expression as operator": ("model.test_cfg.nms", {"type": WRITE, "iou_threshold": 0.5}),
    "expression as value": ("model.test_cfg.mode", WRITE),
    "pickle as value": ("model.decode_head.loss_decode.class_weight", "evil.pkl"),
    "pickle without suffix": ("model.decode_head.loss_decode.class_weight", "evil_pickle"),
    "pickle elsewhere": ("model.decode_head.loss_decode.class_weight", "http://localhost:1/evil.pkl"),
    "config file as value": ("model.teacher_config", "evil.py"),
    "loader of pickles": (STEP, {"type": "LoadBiomedicalImageFromFile", "decode_backend": "pickle"}),
    "type that is no text": ("model.backbone", {"type": ["ConvNeXt"]}),
    "data set of a module": ("test_dataloader.dataset.type", "evil_module.run"),
}


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("place", ["inside", "beside"])
def test_nothing_in_a_saved_config_is_run(segmentor, workplace, attack, place):
    checkpoint = segmentor.content
    config = json.loads(checkpoint["meta"].pop("config_json"))
    _set(config, *HOSTILE[attack])
    if place == "inside":
        checkpoint["meta"]["config_json"] = json.dumps(config)
    else:  # without classes, which are then looked for in the config's data set
        del checkpoint["meta"]["dataset_meta"]
        (workplace / "config.json").write_text(json.dumps(config))
    torch.save(checkpoint, "model.pth")
    if attack == "data set of a module":  # only a name to look up, which is not there
        Predictor("model.pth")
    else:
        with pytest.raises(UserError) as error:
            Predictor("model.pth")
        assert error.value.fix
    assert not (workplace / RAN).exists()


@pytest.mark.parametrize("attack", ["dotted type", "module as type", "function of a library"])
def test_mmengine_alone_would_run_it(segmentor, workplace, attack):
    """What the guard is there for: else the attacks would prove nothing."""
    from mmengine.registry import MODELS

    with pytest.raises(Exception):  # noqa: B017  (whatever comes of the payload's result)
        MODELS.build(HOSTILE[attack][1]).no_such_attribute  # noqa: B018
    assert (workplace / RAN).exists()


def test_weights_that_the_config_names_are_not_read(segmentor, workplace):
    checkpoint = segmentor.content
    config = json.loads(checkpoint["meta"]["config_json"])
    config["model"]["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "evil.pkl"}
    config["model"]["pretrained"] = "evil.pkl"
    checkpoint["meta"]["config_json"] = json.dumps(config)
    torch.save(checkpoint, "model.pth")
    Predictor("model.pth")
    assert not (workplace / RAN).exists()


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_every_shipped_config_passes_and_comes_back_from_json(path):
    cfg = load_config(path)
    found = find_config({"config_json": config_to_json(cfg)}, path)
    named = find_config({}, path, cfg)
    assert found.scope == named.scope
    assert plain(found.model) == plain(named.model)
    assert "init_cfg" not in found.model.backbone
    assert [step.get("scale") for step in found.pipeline] == [step.get("scale") for step in named.pipeline]


def test_a_refusal_names_the_place_and_the_nearest_name(segmentor, workplace):
    checkpoint = segmentor.content
    config = json.loads(checkpoint["meta"]["config_json"])
    config["model"]["backbone"]["type"] = "ConvNext"
    checkpoint["meta"]["config_json"] = json.dumps(config)
    torch.save(checkpoint, "model.pth")
    with pytest.raises(UserError, match="did you mean 'ConvNeXt'") as error:
        Predictor("model.pth")
    assert "model.backbone.type" in str(error.value)
    assert "--config" in str(error.value)


def test_a_config_as_python_text_is_refused_with_the_way_out(segmentor, workplace):
    checkpoint = segmentor.content
    del checkpoint["meta"]["config_json"]
    checkpoint["meta"]["cfg"] = "open('ran.txt', 'w').close()"
    torch.save(checkpoint, "model.pth")
    with pytest.raises(UserError, match=r"Python code only(?s:.)*--config"):
        Predictor("model.pth")
    assert not (workplace / RAN).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no object"),
        ('{"architectures": ["ConvNextForImageClassification"]}', "no `model`"),
        ('{"model": {"type": "EncoderDecoder"}}', "no `test_dataloader"),
    ],
)
def test_a_file_beside_that_is_no_config_is_named(segmentor, workplace, text, message):
    torch.save(segmentor.content["state_dict"], "model.pth")
    (workplace / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        Predictor("model.pth")
    assert "config.json" in error.value.where


def test_a_published_model_is_told_its_recipe(tmp_path):
    """The original repository's files hold no config."""
    file = tmp_path / "upernet_convnext_tiny_1k_512x512.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": {"CLASSES": ("wall",)}}, file)
    with pytest.raises(UserError, match="there is no config in the checkpoint") as caught:
        Predictor(file)
    assert caught.value.fix == "name its recipe: --config configs/upernet_convnext_t.py"
