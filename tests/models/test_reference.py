"""Outputs and gradients against Hugging Face's backbones with the same weights, and parameter counts."""

from itertools import pairwise

import pytest
import torch
from transformers import ConvNextBackbone, ConvNextConfig, ConvNextV2Backbone, ConvNextV2Config

from convnext_dense.models.convnext import ARCHS, Arch, ConvNeXt

from .nets import TOY_V1, TOY_V2, loss_of, randomise

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
LOCAL_NAMES = {"dwconv": "dwconv", "norm": "layernorm", "pwconv1": "pwconv1", "pwconv2": "pwconv2"}


def reference(arch: Arch, out_indices, in_channels=3):
    kind, config = (ConvNextBackbone, ConvNextConfig)
    if arch.use_grn:
        kind, config = (ConvNextV2Backbone, ConvNextV2Config)
    return kind(
        config(
            num_channels=in_channels,
            depths=list(arch.depths),
            hidden_sizes=list(arch.dims),
            out_features=[f"stage{i + 1}" for i in out_indices],
        )
    )


def reference_name(name: str) -> str:
    """Hugging Face's name of our parameter `name`."""
    part, _, rest = name.partition(".")
    if part.startswith("norm"):
        return f"hidden_states_norms.stage{int(part[4:]) + 1}.{rest}"
    i, j, leaf = rest.split(".", 2)
    if part == "downsample_layers":
        if i == "0":
            return f"embeddings.{'patch_embeddings' if j == '0' else 'layernorm'}.{leaf}"
        return f"encoder.stages.{i}.downsampling_layer.{j}.{leaf}"
    prefix = f"encoder.stages.{i}.layers.{j}."
    if leaf == "gamma":
        return prefix + "layer_scale_parameter"
    if leaf.startswith("grn"):
        return prefix + {"grn.gamma": "grn.weight", "grn.beta": "grn.bias"}[leaf]
    module, kind = leaf.split(".")
    return f"{prefix}{LOCAL_NAMES[module]}.{kind}"


def assert_close(actual, expected, dtype, what):
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[dtype], f"{what}: relative error {error:.1e}"


CASES = [
    pytest.param(arch, dtype, indices, id=f"{name}-{str(dtype)[6:]}-{indices}")
    for name, arch, dtypes, indices in [
        ("toy_v1", Arch(**TOY_V1), TOLERANCE, (0, 1, 2, 3)),
        ("toy_v2", Arch(**TOY_V2), TOLERANCE, (0, 1, 2, 3)),
        ("toy_v1", Arch(**TOY_V1), TOLERANCE, (1, 3)),
        ("toy_v2", Arch(**TOY_V2), TOLERANCE, (0, 2)),
        ("tiny", ARCHS["tiny"], TOLERANCE, (0, 1, 2, 3)),
        ("v2_atto", ARCHS["v2_atto"], TOLERANCE, (0, 1, 2, 3)),
    ]
    for dtype in dtypes
]


@pytest.mark.parametrize(("arch", "dtype", "out_indices"), CASES)
def test_outputs_and_gradients_equal_hugging_face(arch, dtype, out_indices):
    theirs = reference(arch, out_indices).to(dtype).eval()
    randomise(theirs)
    their_params = dict(theirs.named_parameters())
    ours = ConvNeXt(arch, out_indices=out_indices).to(dtype).eval()
    used = set()
    with torch.no_grad():
        for name, param in ours.named_parameters():
            param.copy_(their_params[reference_name(name)])
            used.add(reference_name(name))
    assert used == set(their_params)

    batch = 1 if arch in ARCHS.values() else 2
    image = torch.randn(batch, 3, 109, 139, dtype=dtype, generator=torch.Generator().manual_seed(1))
    our_image, their_image = image.clone().requires_grad_(), image.clone().requires_grad_()
    our_maps, their_maps = ours(our_image), theirs(their_image).feature_maps
    assert len(our_maps) == len(their_maps) == len(out_indices)
    for i, our_map, their_map in zip(out_indices, our_maps, their_maps, strict=True):
        assert our_map.shape == their_map.shape
        assert_close(our_map, their_map, dtype, f"map {i}")

    loss_of(our_maps).backward()
    loss_of(their_maps).backward()
    assert_close(our_image.grad, their_image.grad, dtype, "gradient of the image")
    for name, param in ours.named_parameters():
        expected = their_params[reference_name(name)].grad
        if expected is None:  # behind the last map
            assert param.grad is None, name
        else:
            assert_close(param.grad, expected, dtype, f"gradient of {name}")


@pytest.mark.parametrize("arch", [Arch(**TOY_V1), Arch(**TOY_V2)], ids=["v1", "v2"])
def test_twenty_steps_train_like_hugging_face(arch):
    theirs = reference(arch, (0, 1, 2, 3)).double()
    randomise(theirs)
    ours = ConvNeXt(arch).double()
    state = theirs.state_dict()
    ours.load_state_dict({name: state[reference_name(name)] for name in ours.state_dict()})
    images = torch.randn(2, 3, 45, 64, dtype=torch.float64)
    curves = []
    for net, maps_of in ((ours, ours), (theirs, lambda x: theirs(x).feature_maps)):
        optimizer, curve = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05), []
        for _ in range(20):
            loss = loss_of([m.tanh() for m in maps_of(images)])
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters()])
            curve.append([loss.item(), norm.item()])
            optimizer.step()
        curves.append(torch.tensor(curve, dtype=torch.float64))
    assert curves[0][-1, 0] < curves[0][0, 0] - 1
    torch.testing.assert_close(*curves, rtol=1e-7, atol=1e-7)


def test_four_channel_images_equal_hugging_face():
    arch = Arch(**TOY_V1)
    theirs = reference(arch, (3,), in_channels=4).double().eval()
    ours = ConvNeXt(arch, out_indices=(3,), in_channels=4).double().eval()
    state = theirs.state_dict()
    ours.load_state_dict({name: state[reference_name(name)] for name in ours.state_dict()})
    images = torch.randn(2, 4, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours(images)[0], theirs(images).feature_maps[0], rtol=1e-10, atol=1e-10)


# ImageNet parameters in millions as printed in the papers, and the unit of the last printed digit.
PUBLISHED_MILLIONS = {
    "tiny": (28, 1),
    "small": (50, 1),
    "base": (89, 1),
    "large": (198, 1),
    "xlarge": (350, 1),
    "v2_atto": (3.7, 0.1),
    "v2_femto": (5.2, 0.1),
    "v2_pico": (9.1, 0.1),
    "v2_nano": (15.6, 0.1),
    "v2_tiny": (28.6, 0.1),
    "v2_base": (89, 1),
    "v2_large": (198, 1),
    "v2_huge": (660, 1),
}


def backbone_count(depths, dims, v2):
    """Parameters without the output norms, added up by hand."""
    total = 3 * 16 * dims[0] + dims[0] + 2 * dims[0]  # 4x4 patches and their norm
    for narrow, wide in pairwise(dims):
        total += 2 * narrow + 4 * narrow * wide + wide
    for depth, c in zip(depths, dims, strict=True):
        block = (49 * c + c) + 2 * c + (c * 4 * c + 4 * c) + (4 * c * c + c)
        total += depth * (block + (8 * c if v2 else c))  # GRN's two vectors, or the layer scale
    return total


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_parameters_equal_the_published_count(name):
    with torch.device("meta"):
        net = ConvNeXt(name)
    dims = ARCHS[name].dims
    count = sum(p.numel() for p in net.parameters())
    backbone = count - sum(2 * c for c in dims)
    assert backbone == backbone_count(ARCHS[name].depths, dims, name.startswith("v2"))
    classifier = 2 * dims[-1] + 1000 * dims[-1] + 1000
    millions, unit = PUBLISHED_MILLIONS[name]
    # The paper cuts tiny's 28.59 to 28, so "within one unit of the last digit".
    assert abs((backbone + classifier) / 1e6 - millions) < unit


def test_every_size_has_a_published_count():
    assert set(PUBLISHED_MILLIONS) == set(ARCHS)
