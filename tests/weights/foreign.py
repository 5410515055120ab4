"""Files of other libraries' models, in their exact names and shapes, written from a net of ours.

timm, torchvision and mmpretrain cannot be imported beside a CPU-only torch, and FCMAE's sparse layers need
MinkowskiEngine. So these functions spell out what those libraries' `state_dict()` has, part by part, and
share nothing with the package's table: sources are timm's `models/convnext.py`, torchvision's
`models/convnext.py`, mmpretrain's `backbones/convnext.py` and ConvNeXt-V2's `models/fcmae.py`.
"""

from __future__ import annotations

from torch import Tensor, ones

from convnext_dense.models.convnext import ConvNeXt

State = dict[str, Tensor]


def _linear(name: str, layer) -> State:
    return {f"{name}.weight": layer.weight.detach().clone(), f"{name}.bias": layer.bias.detach().clone()}


def classifier(norm: str, head: str, dim: int, classes: int = 5) -> State:
    """Return the last two layers of a classifier, with values of their own."""
    values = {f"{norm}.weight": ones(dim) * 3, f"{norm}.bias": ones(dim) * 4}
    return values | ({f"{head}.weight": ones(classes, dim), f"{head}.bias": ones(classes)} if head else {})


def timm(net: ConvNeXt, *, conv_mlp: bool = False, features_only: bool = False) -> State:
    state = _linear("stem.0", net.downsample_layers[0][0]) | _linear("stem.1", net.downsample_layers[0][1])
    for i, stage in enumerate(net.stages):
        if i:
            state |= _linear(f"stages.{i}.downsample.0", net.downsample_layers[i][0])
            state |= _linear(f"stages.{i}.downsample.1", net.downsample_layers[i][1])
        for j, block in enumerate(stage):
            name = f"stages.{i}.blocks.{j}"
            state |= {} if block.gamma is None else {f"{name}.gamma": block.gamma.detach().clone()}
            state |= _linear(f"{name}.conv_dw", block.dwconv) | _linear(f"{name}.norm", block.norm)
            state |= _linear(f"{name}.mlp.fc1", block.pwconv1) | _linear(f"{name}.mlp.fc2", block.pwconv2)
            if block.grn is not None:
                state[f"{name}.mlp.grn.weight"] = block.grn.gamma.detach().flatten().clone()
                state[f"{name}.mlp.grn.bias"] = block.grn.beta.detach().flatten().clone()
    if conv_mlp:
        state = {
            n: t[:, :, None, None] if n.endswith(("fc1.weight", "fc2.weight")) else t
            for n, t in state.items()
        }
    if features_only:
        return {n.replace("stem.", "stem_").replace("stages.", "stages_"): t for n, t in state.items()}
    return state | classifier("head.norm", "head.fc", net.arch.dims[-1])


def torchvision(net: ConvNeXt) -> State:
    state = _linear("features.0.0", net.downsample_layers[0][0]) | _linear(
        "features.0.1", net.downsample_layers[0][1]
    )
    for i, stage in enumerate(net.stages):
        if i:
            state |= _linear(f"features.{2 * i}.0", net.downsample_layers[i][0])
            state |= _linear(f"features.{2 * i}.1", net.downsample_layers[i][1])
        for j, block in enumerate(stage):
            name = f"features.{2 * i + 1}.{j}"
            state[f"{name}.layer_scale"] = block.gamma.detach().clone()[:, None, None]
            state |= _linear(f"{name}.block.0", block.dwconv) | _linear(f"{name}.block.2", block.norm)
            state |= _linear(f"{name}.block.3", block.pwconv1) | _linear(f"{name}.block.5", block.pwconv2)
    return state | classifier("classifier.0", "classifier.2", net.arch.dims[-1])


def mmpretrain(net: ConvNeXt, *, linear_pw_conv: bool = True) -> State:
    """Return the backbone alone, without prefix; output norms as the net has them."""
    state: State = {}
    for i, stage in enumerate(net.stages):
        for k in (0, 1):
            state |= _linear(f"downsample_layers.{i}.{k}", net.downsample_layers[i][k])
        for j, block in enumerate(stage):
            name = f"stages.{i}.{j}"
            state |= {} if block.gamma is None else {f"{name}.gamma": block.gamma.detach().clone()}
            state |= _linear(f"{name}.depthwise_conv", block.dwconv) | _linear(f"{name}.norm", block.norm)
            for k, layer in ((1, block.pwconv1), (2, block.pwconv2)):
                state |= _linear(f"{name}.pointwise_conv{k}", layer)
                if not linear_pw_conv:
                    state[f"{name}.pointwise_conv{k}.weight"].unsqueeze_(2).unsqueeze_(3)
            if block.grn is not None:
                state[f"{name}.grn.gamma"] = block.grn.gamma.detach().flatten().clone()
                state[f"{name}.grn.beta"] = block.grn.beta.detach().flatten().clone()
    for i in net.out_indices:
        state |= _linear(f"norm{i}", getattr(net, f"norm{i}"))
    return state


def mmpretrain_classifier(net: ConvNeXt) -> State:
    """Return an image classifier: the norm after pooling is called `norm3`."""
    body = {n: t for n, t in mmpretrain(net).items() if not n.startswith("norm")}
    state = {f"backbone.{n}": t for n, t in body.items()}
    return state | classifier("backbone.norm3", "head.fc", net.arch.dims[-1])


def _kernel(weight: Tensor) -> Tensor:
    """Return a dense kernel (D, C, k, k) as MinkowskiEngine keeps it: (k², C, D), (k², D) if depthwise."""
    size = weight.shape[-1]
    positions = [weight[:, :, y, x] for x in range(size) for y in range(size)]  # each (D, C)
    kernel = ones(len(positions), weight.shape[1], weight.shape[0])
    for index, position in enumerate(positions):
        kernel[index] = position.T
    return kernel[:, 0] if weight.shape[1] == 1 else kernel


def fcmae(net: ConvNeXt) -> State:
    """Return a masked autoencoder's file: a sparse encoder and a dense decoder."""

    def sparse(name: str, layer) -> State:
        weight, bias = layer.weight.detach(), layer.bias.detach()
        return {f"{name}.kernel": _kernel(weight), f"{name}.bias": bias.clone()[None]}

    state = _linear("encoder.downsample_layers.0.0", net.downsample_layers[0][0])
    state |= _linear("encoder.downsample_layers.0.1", net.downsample_layers[0][1])
    for i, stage in enumerate(net.stages):
        if i:
            state |= _linear(f"encoder.downsample_layers.{i}.0.ln", net.downsample_layers[i][0])
            state |= sparse(f"encoder.downsample_layers.{i}.1", net.downsample_layers[i][1])
        for j, block in enumerate(stage):
            name = f"encoder.stages.{i}.{j}"
            state |= sparse(f"{name}.dwconv", block.dwconv) | _linear(f"{name}.norm.ln", block.norm)
            state |= _linear(f"{name}.pwconv1.linear", block.pwconv1)
            state |= _linear(f"{name}.pwconv2.linear", block.pwconv2)
            state[f"{name}.grn.gamma"] = block.grn.gamma.detach().clone()[0, 0]
            state[f"{name}.grn.beta"] = block.grn.beta.detach().clone()[0, 0]
    decoder = {
        "proj.weight": ones(6, net.arch.dims[-1], 1, 1),
        "proj.bias": ones(6),
        "mask_token": ones(1, 6, 1, 1),
    }
    decoder |= {"decoder.0.dwconv.weight": ones(6, 1, 7, 7), "decoder.0.grn.gamma": ones(1, 1, 1, 24)}
    return state | decoder | {"pred.weight": ones(12, 6, 1, 1), "pred.bias": ones(12)}
