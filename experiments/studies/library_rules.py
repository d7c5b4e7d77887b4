"""What libraries make of a pretrained first convolution if they are asked for one channel.

Run by `experiments.studies.library_stems` with the libraries' own Python: it imports nothing of this repository. Each
function below gives a library's own loading code a checkpoint of three channels and asks it for one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SEEDS = (0, 1)
"""torch's, set before a library loads; what differs between them is random."""

Case = dict[str, Any]


def filled(network: nn.Module, exact: bool) -> dict[str, Tensor]:
    """Return a checkpoint of a network, whose tensors are drawn from the names.

    Args:
        network: gives names and shapes.
        exact: whether weights are multiples of 2^-10 below 4, whose sums have no rounding in float32, or any float32
            near zero.
    """
    state = {}
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        generator = torch.Generator().manual_seed(number)
        if not tensor.is_floating_point():
            state[name] = tensor.clone()
        elif exact:
            state[name] = torch.randint(-1024, 1025, tensor.shape, generator=generator).float() / 1024
        else:
            state[name] = torch.randn(tensor.shape, generator=generator) / 10
    return state


def timm_rule(exact: bool) -> Case:
    """``create_model(pretrained=True, in_chans=1)`` with a file in place of the hub's."""
    import timm

    state = filled(timm.create_model("resnet18"), exact)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        torch.save(state, file)
        loaded = timm.create_model("resnet18", pretrained=True, in_chans=1, pretrained_cfg_overlay={"file": str(file)})
    return {"before": state["conv1.weight"], "after": loaded.state_dict()["conv1.weight"]}


def fastai_rule(exact: bool) -> Case:
    """``create_body(n_in=1, pretrained=True)``, which `vision_learner` calls, on a network with its weights."""
    import torchvision
    from fastai.vision.learner import create_body

    network = torchvision.models.resnet18()
    state = filled(network, exact)
    network.load_state_dict(state)
    body = create_body(network, n_in=1, pretrained=True, cut=-2)
    return {"before": state["conv1.weight"], "after": next(iter(body.state_dict().values()))}


def smp_rule(exact: bool) -> Case:
    """``encoder.set_in_channels(1, pretrained=True)``, which `get_encoder` calls when it has loaded its weights."""
    import segmentation_models_pytorch as smp

    encoder = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
    state = filled(encoder, exact)
    nn.Module.load_state_dict(encoder, state)
    encoder.set_in_channels(1, pretrained=True)
    return {"before": state["conv1.weight"], "after": encoder.state_dict()["conv1.weight"]}


def ultralytics_rule(exact: bool) -> Case:
    """``ClassificationModel(ch=1).load(...)``, which training with ``pretrained`` calls.

    ``fresh`` is the first convolution of the same network before it loads.
    """
    from ultralytics.nn.tasks import ClassificationModel

    source = ClassificationModel("yolov8n-cls.yaml", ch=3, nc=10, verbose=False)
    state = filled(source, exact)
    source.load_state_dict(state)
    network = ClassificationModel("yolov8n-cls.yaml", ch=1, nc=10, verbose=False)
    name = "model.0.conv.weight"
    fresh = network.state_dict()[name].clone()
    network.load(source, verbose=False)
    return {"before": state[name], "after": network.state_dict()[name], "fresh": fresh}


def efficientnet_rule(exact: bool) -> Case:
    """``EfficientNet.from_pretrained(in_channels=1)`` with a file in place of the release's."""
    from efficientnet_pytorch import EfficientNet

    state = filled(EfficientNet.from_name("efficientnet-b0"), exact)
    seed = torch.initial_seed()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        torch.save(state, file)
        torch.manual_seed(seed)
        network = EfficientNet.from_pretrained("efficientnet-b0", weights_path=str(file), in_channels=1)
    torch.manual_seed(seed)
    EfficientNet.from_name("efficientnet-b0")
    fresh = nn.Conv2d(1, 32, kernel_size=3, stride=2, bias=False).weight.detach()
    return {"before": state["_conv_stem.weight"], "after": network.state_dict()["_conv_stem.weight"], "fresh": fresh}


def torchvision_rule(exact: bool) -> Case:
    """``load_state_dict`` into a network whose first convolution was replaced by hand: torchvision has no more."""
    import torchvision

    state = filled(torchvision.models.resnet18(), exact)
    network = torchvision.models.resnet18()
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        return {"before": state["conv1.weight"], "refused": str(error).splitlines()[-1].strip()}
    return {"before": state["conv1.weight"], "after": network.state_dict()["conv1.weight"]}


def transformers_rule(exact: bool) -> Case:
    """``from_pretrained(num_channels=1, ignore_mismatched_sizes=True)``; without the latter it refuses."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    source = ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **sizes))
    state = filled(source, exact)
    source.load_state_dict(state)
    name = next(name for name in state if name.endswith("patch_embeddings.projection.weight"))
    seed = torch.initial_seed()
    with tempfile.TemporaryDirectory() as folder:
        source.save_pretrained(folder)
        try:
            ViTForImageClassification.from_pretrained(folder, num_channels=1)
            refused = ""
        except (RuntimeError, ValueError) as error:
            refused = type(error).__name__
        torch.manual_seed(seed)
        network = ViTForImageClassification.from_pretrained(folder, num_channels=1, ignore_mismatched_sizes=True)
    torch.manual_seed(seed)
    fresh = nn.init.trunc_normal_(torch.empty(48, 1, 8, 8), std=source.config.initializer_range)
    after = network.state_dict()[name]
    return {"before": state[name], "after": after, "fresh": fresh, "refused": refused}


RULES: dict[str, Callable[[bool], Case]] = {
    "timm": timm_rule,
    "fastai": fastai_rule,
    "segmentation-models-pytorch": smp_rule,
    "ultralytics": ultralytics_rule,
    "efficientnet-pytorch": efficientnet_rule,
    "torchvision": torchvision_rule,
    "transformers": transformers_rule,
}


def main(library: str, target: Path) -> None:
    """Save what a library does, for each kind of checkpoint and each seed, as tensors and text.

    A third argument of the command is a folder with another version of the library.
    """
    cases = {}
    for exact in (True, False):
        for seed in SEEDS:
            torch.manual_seed(seed)
            cases[exact, seed] = RULES[library](exact)
    torch.save(cases, target)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[3:]
    main(sys.argv[1], Path(sys.argv[2]))
