"""The steps that an optimizer and a schedule take, against PyTorch's own by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from benchmark.matrix import file
from benchmark.matrix.choices import COSINE, SCHEDULES
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks.freezing import set_trainable
from benchmark.training.optimizers import lr_factor, make_optimizer
from tests import factories
from tests.training.training_runs import at_each_step, run

A_STAGE = math.ceil(40 / 8)


def groups_at_each_step(spec: RunSpec) -> list[list[dict[str, Any]]]:
    """Return the options of each parameter group, and the optimizer's kind, at each step of a run."""
    steps: list[list[dict[str, Any]]] = []

    def note(optimizer: torch.optim.Optimizer) -> None:
        kind = type(optimizer).__name__
        steps.append([{**group, "kind": kind} for group in optimizer.param_groups])

    with at_each_step(note):
        run(spec)
    return steps


def test_sgd_has_the_momentum_and_the_weight_decay_of_the_matrix() -> None:
    steps = groups_at_each_step(
        factories.training_spec(
            epochs=1, optimizer="{sgd: {momentum: 0.8}}", weight_decay=0.003, scheduler="constant", lr=0.02
        )
    )
    assert [(g["kind"], g["lr"], g["weight_decay"], g["momentum"]) for (g,) in steps] == [("SGD", 0.02, 0.003, 0.8)] * 5


def test_a_step_schedule_falls_by_its_factor_after_its_epochs() -> None:
    steps = groups_at_each_step(factories.training_spec(epochs=5, scheduler="{step: {size: 2, gamma: 0.1}}", lr=0.01))
    expected = [0.01] * 2 * A_STAGE + [0.001] * 2 * A_STAGE + [0.0001] * A_STAGE
    assert [group["lr"] for (group,) in steps] == pytest.approx(expected)


def test_a_multistep_schedule_falls_at_its_shares_of_the_epochs_as_pytorchs_own_does() -> None:
    schedule = "{multistep: {milestones: [0.5, 0.75], gamma: 0.1}}"
    spec = factories.training_spec(epochs=4, scheduler=schedule, lr=0.01, policy="discriminative")
    applied = [[group["lr"] for group in groups] for groups in groups_at_each_step(spec)]
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.01, 0.1)]
    optimizer = torch.optim.SGD(parameters)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 3], gamma=0.1)
    expected = []
    for _ in range(4):
        for _ in range(A_STAGE):
            expected.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
        theirs.step()
    assert applied == [pytest.approx(rates) for rates in expected]
    assert expected[0] == [0.01, 0.1]
    assert expected[-1] == pytest.approx([0.0001, 0.001])


@pytest.mark.parametrize(
    ("share", "epochs", "first"), [(0.1, 30, 3), (0.75, 100, 75), (0.75, 10, 8), (0.3, 10, 3), (0.5, 1, 1), (1, 4, 4)]
)
def test_a_milestone_is_the_first_epoch_before_which_its_share_is_done(share: float, epochs: int, first: int) -> None:
    schedule = SCHEDULES.parse({"multistep": {"milestones": [share], "gamma": 0.5}})
    factors = [lr_factor(schedule, step, 7, epochs) for step in range(7 * epochs)]
    assert factors == [1.0] * 7 * first + [0.5] * 7 * (epochs - first)


@pytest.mark.parametrize("kind", ["adamw", "adam", "{sgd: {momentum: 0.9}}"])
def test_a_step_is_the_one_that_pytorchs_optimizer_takes(kind: str) -> None:
    spec = factories.training_spec(optimizer=kind, weight_decay=0.1, lr=0.01)
    mine, _ = factories.network_and_images(spec, factories.dataset())
    theirs, _ = factories.network_and_images(spec, factories.dataset())
    set_trainable(mine.network, "all")
    ours = make_optimizer(mine.network, spec.stages[0])
    reference: torch.optim.Optimizer = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False, fused=False),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, foreach=False, fused=False),
        "{sgd: {momentum: 0.9}}": lambda p: torch.optim.SGD(
            p, lr=0.01, weight_decay=0.1, momentum=0.9, foreach=False, fused=False
        ),
    }[kind](theirs.network.parameters())
    for step in range(3):
        for network, optimizer in ((mine.network, ours), (theirs.network, reference)):
            for number, parameter in enumerate(network.parameters()):
                generator = torch.Generator().manual_seed(1000 * step + number)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for a, b in zip(mine.network.parameters(), theirs.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_sgd_on_summed_losses_is_sgd_on_their_mean_with_lr_times_and_weight_decay_over_the_batch() -> None:
    """The hotdog matrix's translation: its source back-propagates the sum of the losses of a batch of 128."""
    batch, lr, weight_decay = 128, 5e-4, 1e-3
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(2 * batch, 6, generator=generator), torch.arange(2 * batch) % 2
    start = torch.randn(2, 6, generator=generator)
    ends = []
    for reduction, factor in (("sum", 1), ("mean", batch)):
        weight = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=lr * factor, weight_decay=weight_decay / factor)
        for step in range(2):
            optimizer.zero_grad()
            shown = slice(step * batch, (step + 1) * batch)
            loss = torch.nn.functional.cross_entropy(images[shown] @ weight.T, labels[shown], reduction=reduction)
            loss.backward()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-7)
    assert float((ends[0] - start).abs().max()) > 0.01
    hotdog = file.load(file.find("hotdog"))
    assert hotdog.training.batch_size == batch
    assert hotdog.training.lr[0] == pytest.approx(lr * batch, rel=1e-12)
    assert hotdog.training.weight_decay == pytest.approx(weight_decay / batch, rel=1e-12)


def test_the_cosine_starts_at_one_is_half_in_the_middle_and_ends_at_zero() -> None:
    assert lr_factor(COSINE, 0, 10, 4) == 1
    assert lr_factor(COSINE, 20, 10, 4) == pytest.approx(0.5)
    assert lr_factor(COSINE, 40, 10, 4) == pytest.approx(0)
    assert lr_factor(COSINE, 41, 10, 4) == pytest.approx(0)
