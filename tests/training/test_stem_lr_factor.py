"""Repeated or summed: two learning rates of one network, where mean and std are equal on the channels.

The three channels of a stem that takes (x, x, x) get the same gradient. Under AdamW, SGD and Adam without weight decay
their sum moves three times as far as the one channel does, and decays as fast per step as each of them; so the learning
rate of the one channel times three, its weight decay divided by three, is exactly the same training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.matrix.choices import OPTIMIZERS
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.policies import Stage
from benchmark.networks.build import load_pretrained
from benchmark.networks.heads import head_parameters
from benchmark.networks.initialisation import seeded_build
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.stems import adapt_stem, stem_weights
from benchmark.networks.weights import PretrainedWeights
from benchmark.training.optimizers import make_optimizer, make_schedule
from benchmark.training.stages import train
from tests import factories
from tests.training.training_runs import at_each_step

STEPS = 12
EQUAL = ((0.5,) * 3, (0.5,) * 3)

Made = tuple[nn.Module, set[str]]
"""A network, and the names of its stem's weights."""


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    torch.set_num_threads(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Small(nn.Module):
    """Two convolutions with batch norms, the first with a bias, and a linear head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.body = nn.Sequential(
            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.head = nn.Linear(8, 3)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(images)).mean(dim=(2, 3)))
        return logits


def small(channels: int) -> Made:
    network = seeded_build(lambda: Small(3), 0)
    if channels == 1:
        state = network.state_dict()
        network = Small(1)
        network.load_state_dict({**state, "stem.weight": adapt_stem(state["stem.weight"], "sum", *EQUAL)})
    return network, {"stem.weight"}


def of_timm(model: str) -> Callable[[int], Made]:
    def make(channels: int) -> Made:
        known, mode = find_architecture(model), INPUT_MODES["grey-1ch" if channels == 1 else "grey-3ch"]
        assert (known.mean, known.std) == EQUAL
        network = seeded_build(lambda: known.create(3, channels), 0)
        state = {n: t.double() if t.is_floating_point() else t for n, t in factories.pretrained(model).items()}
        load_pretrained(network, PretrainedWeights(state, "", ""), mode, known)
        return network, stem_weights(network, model)

    return make


def stage(optimizer: object, weight_decay: float, **given: Any) -> Stage:
    return Stage(
        trainable="all",
        epochs=1,
        lr=0.01,
        batch_norm="train",
        optimizer=OPTIMIZERS.parse(optimizer),
        weight_decay=weight_decay,
        scheduler="cosine",
        patience=None,
        **given,
    )


def losses(made: Made, channels: int, how: Stage) -> Tensor:
    """Return the training losses of the first steps on grey images, repeated on so many channels."""
    network, stem = made
    optimizer = make_optimizer(network.train(), how, stem)
    schedule = make_schedule(optimizer, how, STEPS)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(STEPS):
        images = torch.randn(6, 1, 32, 32, generator=generator).expand(-1, channels, -1, -1)
        loss = nn.functional.cross_entropy(network(images), torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seen.append(loss.detach())
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("make", "optimizer", "decay"),
    [
        pytest.param(small, "adamw", 0.01, id="small-adamw"),
        pytest.param(small, {"sgd": {"momentum": 0.9}}, 0.01, id="small-sgd"),
        pytest.param(small, "adam", 0.0, id="small-adam"),
        pytest.param(of_timm("timm/test_resnet"), "adamw", 0.01, id="resnet-adamw"),
        pytest.param(
            of_timm("timm/test_resnet"), {"sgd": {"momentum": 0.9}}, 0.01, id="resnet-sgd", marks=pytest.mark.slow
        ),
        pytest.param(of_timm("timm/test_vit"), "adamw", 0.01, id="vit-adamw", marks=pytest.mark.slow),
    ],
)
def test_grey_3ch_is_grey_1ch_with_three_times_the_stems_rate_and_a_third_of_its_decay(
    make: Callable[[int], Made], optimizer: object, decay: float
) -> None:
    three = losses(make(3), 3, stage(optimizer, decay))
    one = losses(make(1), 1, stage(optimizer, decay, stem_lr_factor=3.0))
    as_it_is = losses(make(1), 1, stage(optimizer, decay))
    assert (three - one).abs().max() < 1e-9
    assert abs(three[0] - as_it_is[0]) < 1e-9
    assert (three - as_it_is).abs().max() > 1e-4


def test_each_part_has_its_own_rate_and_decay_and_the_first_group_is_of_the_rest() -> None:
    network, stem = small(3)
    optimizer = make_optimizer(network, stage("adamw", 0.06, head_lr_factor=10.0, stem_lr_factor=3.0), stem)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    seen = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    parts = {**dict.fromkeys(head_parameters(network), (0.1, 0.06)), "stem.weight": (0.03, 0.02)}
    assert seen.keys() == dict(network.named_parameters()).keys()
    for name, found in seen.items():
        assert found == pytest.approx(parts.get(name, (0.01, 0.06))), name
    assert optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("timm/test_resnet", {"conv1.0.weight"}),
        ("timm/test_vit", {"patch_embed.proj.weight"}),
        ("timm/crossvit_tiny_240", {"patch_embed.0.proj.weight", "patch_embed.1.proj.weight"}),
        ("torchvision/squeezenet1_0", {"features.0.weight"}),
    ],
)
def test_the_stem_is_every_weight_that_takes_the_image(model: str, names: set[str]) -> None:
    with torch.device("meta"):
        network = find_architecture(model).create(5, 3)
    assert stem_weights(network, model) == names


@pytest.mark.filterwarnings("ignore:CSATv2 is designed for")
def test_a_network_that_transforms_the_image_before_its_first_convolution_has_no_stem() -> None:
    with pytest.raises(UserError, match="timm/csatv2 does not start with a convolution"):
        stem_weights(nn.Module(), "timm/csatv2")


def test_the_stem_of_a_run_moves_at_its_rate_and_the_record_has_the_stages() -> None:
    torch.set_default_dtype(torch.float32)
    stages = [{"trainable": "all", "stem_lr_factor": 3}]
    own = {"tripled": {"pretrained": False, "summary": "a faster stem", "stages": stages}}
    training = {"image_size": 32, "batch_size": 8, "epochs": 1, "head_epochs": 1, "lr": 0.01, "weight_decay": 0.06}
    spec = factories.spec(policies=["tripled"], own_policies=own, input_modes=["grey-1ch"], training=training)
    built, images = factories.network_and_images(spec, factories.dataset())
    stem = built.network.get_submodule("conv1.0").weight
    seen: list[tuple[float, float, float]] = []

    def note(optimizer: torch.optim.Optimizer) -> None:
        (of_the_stem,) = (group for group in optimizer.param_groups if group["params"][0] is stem)
        seen.append((of_the_stem["lr"], optimizer.param_groups[0]["lr"], of_the_stem["weight_decay"]))

    with at_each_step(note):
        trained = train(built.network, spec, images, "fp32")
    assert seen[0] == pytest.approx((0.03, 0.01, 0.02))
    assert [first / rest for first, rest, _ in seen] == pytest.approx([3] * len(seen))
    assert [epoch.lr for epoch in trained.run_state.history if epoch.lr] == [0.01]
