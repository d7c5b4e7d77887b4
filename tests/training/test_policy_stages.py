"""What each policy trains, how fast and in which mode, as seen at every optimizer step of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.matrix.policies import POLICIES
from benchmark.networks.first_half import PREFIX
from benchmark.networks.freezing import early_half
from benchmark.networks.heads import head_parameters
from benchmark.training.stages import TrainedNetwork, train
from tests import factories
from tests.training.training_runs import at_each_step

LR = 0.002
STEPS = math.ceil(40 / 8)
"""Of an epoch."""


@dataclass(frozen=True)
class Expected:
    """A stage: epochs, and of each part of the network its share of the learning rate; None: frozen.

    ``norms``: of the scales and shifts of batch norms, where the rest of the backbone is frozen.
    """

    epochs: int
    early: float | None
    later: float | None
    head: float
    early_norms_train: bool
    later_norms_train: bool
    norms: float | None = None

    def share(self, name: str, early: set[str], head: set[str], norms: set[str]) -> float | None:
        """Return a parameter's share."""
        if name in head:
            return self.head
        if name in norms and self.norms is not None:
            return self.norms
        return self.early if name in early else self.later


HEAD = Expected(1, None, None, 1, False, False)
WHOLE = Expected(3, 1, 1, 1, True, True)
EXPECTED = {
    "finetune": [HEAD, Expected(3, 0.1, 0.1, 0.1, False, False)],
    "finetune-author": [Expected(1, None, None, 1, True, True, norms=1), Expected(3, 0.1, 0.1, 0.1, True, True)],
    "finetune-bn-switch": [HEAD, Expected(2, 0.1, 0.1, 0.1, True, True)],
    "bn-only": [Expected(3, None, None, 1, True, True, norms=1)],
    "finetune-whole": [WHOLE],
    "scratch": [WHOLE],
    "feature-extract": [Expected(3, None, None, 1, False, False)],
    "discriminative": [Expected(3, 1, 1, 10, True, True)],
    "freeze-early": [Expected(3, None, 1, 1, False, True)],
    "truncate": [Expected(3, None, None, 1, False, False)],
}
"""Of three epochs, and one head epoch on top."""


@dataclass(frozen=True)
class Watched:
    """A run, with what was in force at each optimizer step: lr by parameter, train mode by batch norm."""

    trained: TrainedNetwork
    network: nn.Module
    before: dict[str, torch.Tensor]
    lr: list[dict[str, float]]
    training: list[dict[str, bool]]


def batch_norms(network: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}


def norm_parameters(network: nn.Module) -> set[str]:
    return {f"{name}.{kind}" for name in batch_norms(network) for kind in ("weight", "bias")}


@cache
def watch(policy: str) -> Watched:
    spec = factories.training_spec(policy=policy, lr=LR)
    built, images = factories.network_and_images(spec, factories.dataset())
    network = built.network
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lr: list[dict[str, float]] = []
    training: list[dict[str, bool]] = []

    def note(optimizer: torch.optim.Optimizer) -> None:
        lr.append({names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]})
        training.append({name: module.training for name, module in batch_norms(network).items()})

    with at_each_step(note):
        trained = train(network, spec, images, "fp32")
    return Watched(trained, network, before, lr, training)


def test_every_policy_has_its_expected_stages_here() -> None:
    assert EXPECTED.keys() == POLICIES.keys()


@pytest.mark.parametrize("policy", EXPECTED)
def test_what_is_trained_how_fast_and_in_which_mode_at_every_step(policy: str) -> None:
    seen = watch(policy)
    early, head = early_half(seen.network), set(head_parameters(seen.network))
    early_norms = {name for name in batch_norms(seen.network) if f"{name}.weight" in early}
    assert early_norms
    assert early_norms < batch_norms(seen.network).keys()
    wanted_lr, wanted_modes = [], []
    norms = norm_parameters(seen.network)
    for stage in EXPECTED[policy]:
        for step in range(stage.epochs * STEPS):
            cosine = LR * 0.5 * (1 + math.cos(math.pi * step / (stage.epochs * STEPS)))
            share = {name: stage.share(name, early, head, norms) for name, _ in seen.network.named_parameters()}
            wanted_lr.append({name: cosine * factor for name, factor in share.items() if factor is not None})
            wanted_modes.append(
                {
                    name: stage.early_norms_train if name in early_norms else stage.later_norms_train
                    for name in batch_norms(seen.network)
                }
            )
    assert len(seen.lr) == len(wanted_lr) == sum(stage.epochs for stage in EXPECTED[policy]) * STEPS
    for actual, wanted in zip(seen.lr, wanted_lr, strict=True):
        assert actual == pytest.approx(wanted, rel=1e-9)
    assert seen.training == wanted_modes
    state, first_steps = seen.trained.run_state, seen.lr[::STEPS]
    assert [epoch.lr for epoch in state.history[1:]] == [next(iter(lr.values())) for lr in first_steps]
    numbers = {name: parameter.numel() for name, parameter in seen.network.named_parameters()}
    begun = [first_steps[sum(stage.epochs for stage in EXPECTED[policy][:k])] for k in range(len(state.stages))]
    assert [stage.trainable_parameters for stage in state.stages] == [sum(numbers[name] for name in lr) for lr in begun]


@pytest.mark.parametrize("policy", EXPECTED)
def test_what_is_frozen_stays_to_the_last_bit_and_what_is_trained_moves(policy: str) -> None:
    seen = watch(policy)
    early, head = early_half(seen.network), set(head_parameters(seen.network))
    stages, norms = EXPECTED[policy], norm_parameters(seen.network)
    for name, tensor in seen.trained.last_state.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, _, kind = name.rpartition(".")
        in_front = f"{module}.weight" in early if kind.startswith("running_") else name in early
        if kind.startswith("running_"):
            moves = any(s.early_norms_train if in_front else s.later_norms_train for s in stages)
        else:
            moves = any(s.share(name, early, head, norms) is not None for s in stages)
        assert torch.equal(tensor, seen.before[name]) is not moves, name


def test_the_frozen_half_of_freeze_early_is_the_stem_and_the_first_two_of_four_blocks() -> None:
    seen = watch("freeze-early")
    frozen = {name for name, _ in seen.network.named_parameters()} - seen.lr[0].keys()
    assert frozen == {
        n for n, _ in seen.network.named_parameters() if n.startswith(("conv1", "bn1", "layer1", "layer2"))
    }


def test_scratch_starts_random_whatever_weights_the_matrix_names_and_the_others_do_not(tmp_path: Path) -> None:
    source = factories.write_pretrained(factories.TINY, tmp_path)
    state = factories.pretrained(factories.TINY)
    for policy in POLICIES:
        run = factories.training_spec(policy=policy, input_mode="grey-3ch", weights=source)
        built, _ = factories.network_and_images(run, factories.dataset())
        own, head = built.network.state_dict(), set(head_parameters(built.network))
        weights = [name for name in own if name not in head and own[name].dim() > 1]
        same = [torch.equal(own[name], state[name.removeprefix(PREFIX)]) for name in weights]
        assert not any(same) if policy == "scratch" else all(same)
        assert (built.weights_sha256 is None) is (policy == "scratch")
