"""The ResNets of MedMNIST's paper for 28 pixels, against the same computed from their tensors step by step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks.build import BuiltModel, build
from benchmark.networks.freezing import block_starts
from benchmark.networks.heads import head_parameters
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.weights import load
from benchmark.trained.export import make_config, render_readme
from benchmark.trained.restore import TrainedRun
from tests import factories

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def made(name: str, mode: str = "grey-1ch", classes: int = 2, seed: int = 0, side: int = 28) -> BuiltModel:
    model = f"medmnist/{name}"
    return build(model, INPUT_MODES[mode], classes=classes, source="none", seed=seed, image_size=side)


def by_hand(state: dict[str, Tensor], depths: tuple[int, ...], images: Tensor) -> Tensor:
    """Return the logits of a ResNet in eval mode: stem of 3 x 3 at stride 1, no pooling before the last average."""

    def normed(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        scale = weight / (var + 1e-5).sqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]

    def convolved(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = normed(convolved(images, "conv1"), "bn1").clamp(min=0)
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            at, first = f"layer{stage}.{block}", stage > 1 and block == 0
            convolutions = [n for n in (1, 2, 3) if f"{at}.conv{n}.weight" in state]
            strided = 1 if len(convolutions) == 2 else 2  # the first 3 x 3
            y = x
            for number in convolutions:
                y = normed(convolved(y, f"{at}.conv{number}", 1 + (first and number == strided)), f"{at}.bn{number}")
                y = y if number == convolutions[-1] else y.clamp(min=0)
            if f"{at}.downsample.0.weight" in state:
                x = normed(convolved(x, f"{at}.downsample.0", 1 + first), f"{at}.downsample.1")
            x = (x + y).clamp(min=0)
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_173_962), pytest.param("resnet50", 23_520_842, marks=pytest.mark.slow)]
)
def test_a_network_has_the_papers_layers_for_one_channel_and_three_at_any_size(name: str, parameters: int) -> None:
    torch.manual_seed(0)
    for mode, side in (("rgb", 28), ("grey-1ch", 28), ("grey-1ch", 7), ("grey-1ch", 1)):
        network = made(name, mode, classes=10, side=side).network
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
                for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                    assert tensor is not None
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        images = torch.randn(3, INPUT_MODES[mode].channels, side, side, generator=generator)
        with torch.inference_mode():
            answers = network.eval()(images)
        expected = by_hand(network.state_dict(), DEPTHS[name], images)
        torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)
        without_stem = parameters - 3 * 64 * 9
        assert sum(p.numel() for p in network.parameters()) == without_stem + INPUT_MODES[mode].channels * 64 * 9


def test_every_layer_starts_as_pytorch_initialises_it_and_the_images_are_normalised_by_a_half() -> None:
    built = made("resnet18")
    assert (built.mean, built.std) == ((0.5,), (0.5,))
    weights = {n: t for n, t in built.network.state_dict().items() if t.dim() > 1}
    assert len(weights) == 21
    for name, weight in weights.items():
        bound = weight[0].numel() ** -0.5
        assert weight.abs().max() <= bound, name
        assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.1), name
    assert list(head_parameters(built.network)) == ["fc.weight", "fc.bias"]
    assert len(block_starts(built.network)) == 8
    three = made("resnet18", "grey-3ch", classes=5).network.state_dict()
    same = {name for name in weights if torch.equal(weights[name], three[name])}
    assert weights.keys() - same == {"conv1.weight", "fc.weight"}
    other = made("resnet18", seed=1).network.state_dict()
    assert not any(torch.equal(weight, other[name]) for name, weight in weights.items())


@pytest.mark.parametrize("weights", ["hub", "pypi"])
def test_there_are_no_pretrained_weights(weights: str) -> None:
    with pytest.raises(UserError, match=r"hub: medmnist/resnet18 has no pre|no package has .* medmnist/resnet18"):
        load("medmnist/resnet18", weights)
    with pytest.raises(UserError, match=r"no network 'resnet34'\. Did you mean 'resnet50'|'resnet18'"):
        find_architecture("medmnist/resnet34")


@pytest.mark.parametrize("mode", ["grey-1ch", "grey-3ch"])
def test_an_exports_readme_builds_the_network_without_this_package(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = factories.spec(models=["medmnist/resnet18"], input_modes=[mode], weights="none")
    network = made("resnet18", mode, classes=3).network.eval()
    mean = (0.5,) * INPUT_MODES[mode].channels
    model = {"input_channels": len(mean), "mean": mean, "std": mean}
    record = factories.done(spec)
    record = record.model_copy(update={"model": record.model.model_copy(update=model)})
    settings = make_config(TrainedRun(record, network, torch.device("cpu"), "fp32"))
    assert settings["changed_tensors"] == {}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    load_it, *_ = re.findall(r"```python\n(.*?)```", render_readme(settings), re.S)
    assert len(load_it.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, torch.nn.Module] = {}
    exec(load_it, names)
    images = torch.randn(2, len(mean), 28, 28)
    with torch.inference_mode():
        assert torch.equal(names["network"](images), network(images))
