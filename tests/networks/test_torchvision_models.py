"""torchvision's classifiers: head, grey modes, smallest image, and what Inception does differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build, weights
from benchmark.networks.freezing import set_trainable
from benchmark.networks.heads import head_parameters
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import Architecture
from benchmark.training.batches import Normaliser

ZOO = {
    "resnet18": ("fc", 1),
    "resnet50": ("fc", 1),
    "alexnet": ("classifier.6", 63),
    "vgg11_bn": ("classifier.6", 32),
    "squeezenet1_0": ("classifier.1", 21),
    "densenet121": ("classifier", 29),
    "inception_v3": ("fc", 75),
}
"""Name of the last layer; fewest pixels a side."""

CLASSES = 3


def trained_like(network: nn.Module) -> dict[str, Tensor]:
    """Return values for every tensor of a network on the meta device, through which an image's signal goes."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = torch.ones(tensor.shape, dtype=tensor.dtype)
        elif tensor.dim() > 1:
            state[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("weight", "running_var")):
            state[name] = 0.75 + 0.5 * torch.rand(tensor.shape, generator=generator)
        else:
            state[name] = 0.1 * torch.randn(tensor.shape, generator=generator)
    return state


def published(known: Architecture) -> nn.Module:
    with torch.device("meta"):
        return known.published()


def loaded(known: Architecture, checkpoint: weights.PretrainedWeights, mode: str, head: dict[str, Tensor]) -> nn.Module:
    """Return a network in eval mode, of the mode's channels, with a checkpoint and a given head."""
    with torch.device("meta"):
        network = known.create(CLASSES, INPUT_MODES[mode].channels)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    build.load_pretrained(network, checkpoint, INPUT_MODES[mode], known)
    with torch.no_grad():
        for name, parameter in head_parameters(network).items():
            parameter.copy_(head[name])
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_head_backbone_and_grey_modes_of_the_zoo(name: str) -> None:
    torch.set_num_threads(1)
    last, smallest = ZOO[name]
    known = find_architecture(f"torchvision/{name}")
    state = trained_like(published(known))
    checkpoint = weights.PretrainedWeights(state, "made up", "")
    generator = torch.Generator().manual_seed(1)
    head = {
        f"{last}.{kind}": torch.randn(CLASSES, *state[f"{last}.{kind}"].shape[1:], generator=generator) / 30
        for kind in ("weight", "bias")
    }

    three = loaded(known, checkpoint, "grey-3ch-shared-norm", head)
    assert set(head_parameters(three)) == head.keys(), "the last layer alone, also of several linear ones"
    own = three.state_dict()
    assert {n for n in own if own[n].shape != state[n].shape or not torch.equal(own[n], state[n])} == head.keys()
    assert own.keys() == state.keys()
    set_trainable(three, "head")
    assert {n for n, p in three.named_parameters() if p.requires_grad} == head.keys()

    side = max(64, smallest)
    patches = torch.rand(4, 1, 8, 8, generator=generator)
    images = (255 * nn.functional.interpolate(patches, size=side)).to(torch.uint8)
    answers = {}
    for mode, network in (
        ("grey-3ch-shared-norm", three),
        ("grey-1ch", loaded(known, checkpoint, "grey-1ch", head)),
    ):
        normalise = Normaliser(*INPUT_MODES[mode].normalisation(known.mean, known.std), torch.device("cpu"))
        with torch.inference_mode():
            answers[mode] = network(normalise(images))
    spread = float(answers["grey-1ch"].std(dim=0).max())
    assert float((answers["grey-1ch"] - answers["grey-3ch-shared-norm"]).abs().max()) < 1e-4 * spread

    assert known.minimum_side == smallest
    assert build.check_forward(three, 3, smallest, CLASSES, known.title) is not None
    if smallest > 1:
        with pytest.raises(UserError, match=f"needs images of at least {smallest} pixels per side; these have"):
            build.build(known.title, INPUT_MODES["rgb"], classes=2, source="none", seed=0, image_size=smallest - 1)
        with pytest.raises(UserError, match=f"does not take images of {smallest - 1} x {smallest - 1} pixels"):
            build.check_forward(three, 3, smallest - 1, CLASSES, known.title)


@pytest.mark.slow
def test_inception_answers_as_torchvisions_own_does_with_its_transformation_and_its_normalisation() -> None:
    known = find_architecture("torchvision/inception_v3")
    state = trained_like(published(known))
    theirs = torchvision.models.inception_v3(
        weights=None, aux_logits=False, transform_input=True, init_weights=False
    ).eval()
    theirs.load_state_dict(state)
    ours = known.published().eval()
    ours.load_state_dict(state)
    assert cast(Any, ours).transform_input is False
    pixels = torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        expected = theirs(Normaliser(*imagenet, torch.device("cpu"))(pixels))
        actual = ours(Normaliser(known.mean, known.std, torch.device("cpu"))(pixels))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.slow
def test_the_auxiliary_head_of_a_file_is_left_out_and_training_has_one_answer(tmp_path: Path) -> None:
    with torch.device("meta"):
        whole = torchvision.models.inception_v3(weights=None, init_weights=False)
    state = trained_like(whole)
    assert any(name.startswith("AuxLogits.") for name in state)
    save_file(state, tmp_path / "inception.safetensors")
    checkpoint = weights.load("torchvision/inception_v3", f"file:{tmp_path / 'inception.safetensors'}")
    assert checkpoint.state.keys() == {name for name in state if not name.startswith("AuxLogits.")}
    known = find_architecture("torchvision/inception_v3")
    head = {"fc.weight": torch.zeros(CLASSES, 2048), "fc.bias": torch.zeros(CLASSES)}
    network = loaded(known, checkpoint, "grey-1ch", head).train()
    assert network(torch.zeros(2, 1, 75, 75)).shape == (2, CLASSES)


def test_a_densenet_of_before_pytorch_0_4_is_read_under_todays_names(tmp_path: Path) -> None:
    known = find_architecture("torchvision/densenet121")
    state = trained_like(published(known))
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in name
        else name: tensor
        for name, tensor in state.items()
    }
    assert len(old.keys() - state.keys()) == 58 * 12
    torch.save(old, tmp_path / "densenet.pth")
    read = weights.load("torchvision/densenet121", f"file:{tmp_path / 'densenet.pth'}").state
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
