import mmseg.datasets  # noqa: F401
from mmengine.config import Config

from convnext_dense.engine.classes import set_num_classes


def config(model, dataset, **others):
    loader = dict(dataset=dict(dict(pipeline=[]), **dataset))
    return Config(dict(model=model, train_dataloader=loader, default_scope="mmseg", **others))


def segmentor():
    return dict(
        decode_head=dict(type="UPerHead", num_classes=150),
        auxiliary_head=[dict(type="FCNHead", num_classes=150), dict(type="FCNHead", num_classes=150)],
    )


def test_both_heads_of_a_segmentor_take_the_number_of_the_data_set_with_one_notice():
    cfg = config(segmentor(), dict(type="BaseSegDataset", metainfo=dict(classes=("a", "b", "c"))))
    (notice,) = set_num_classes(cfg)
    heads = [cfg.model.decode_head, *cfg.model.auxiliary_head]
    assert [head.num_classes for head in heads] == [3, 3, 3]
    assert "3 (was 150)" in notice
    assert "decode_head, auxiliary_head.0, auxiliary_head.1" in notice
    assert set_num_classes(cfg) == [], "nothing is left to change"


def test_every_stage_of_a_cascade_and_its_masks_but_not_the_rpn():
    model = dict(
        rpn_head=dict(num_classes=1),
        roi_head=dict(bbox_head=[dict(num_classes=80)] * 3, mask_head=dict(num_classes=80)),
    )
    cfg = config(model, dict(type="BaseSegDataset", metainfo=dict(classes=["nut"])))
    set_num_classes(cfg)
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [1, 1, 1]
    assert cfg.model.roi_head.mask_head.num_classes == 1
    assert cfg.model.rpn_head.num_classes == 1


def test_classes_of_the_data_set_type_itself_are_known():
    cfg = config(segmentor(), dict(type="CityscapesDataset"))
    assert "19 (was 150)" in set_num_classes(cfg)[0]
    assert set_num_classes(config(segmentor(), dict(type="ADE20KDataset"))) == []


def test_wrapped_data_sets_and_class_files(tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("sky\nroad\n")
    inner = dict(type="BaseSegDataset", pipeline=[], metainfo=dict(classes=str(names)))
    cfg = Config(
        dict(
            model=dict(decode_head=dict(num_classes=19)),
            train_dataloader=dict(dataset=dict(type="RepeatDataset", times=3, dataset=inner)),
            default_scope="mmseg",
        )
    )
    set_num_classes(cfg)
    assert cfg.model.decode_head.num_classes == 2
