"""Training of small networks on generated images, watched from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import EpochRecord
from benchmark.training.stages import TrainedNetwork, train
from tests import factories


def run(
    spec: RunSpec, precision: str = "fp32", *, images: int = 40, hook: Callable[..., Any] | None = None
) -> tuple[TrainedNetwork, nn.Module]:
    """Train a run's network on so many generated images; ``hook``: called before each of the network's passes."""
    built, shown = factories.network_and_images(spec, factories.dataset(train=images))
    if hook is not None:
        built.network.register_forward_pre_hook(hook)
    return train(built.network, spec, shown, precision), built.network


@contextmanager
def at_each_step(look: Callable[[torch.optim.Optimizer], object]) -> Iterator[None]:
    """Call a function before every optimizer step of this process."""

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        look(optimizer)

    handle = register_optimizer_step_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def without_times(trained: TrainedNetwork) -> list[EpochRecord]:
    """Return the history without the seconds, which differ from run to run."""
    return [epoch.model_copy(update={"train_seconds": 0}) for epoch in trained.run_state.history]
