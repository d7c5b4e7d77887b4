"""Random weights that depend on nothing but the seed and the tensor's own name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.seeding import derive_seed


def _draws_random_numbers(op: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in op.tags


class _Recorder(TorchDispatchMode):
    """Collects the tensors that random operations fill; kept alive, so that none shares another's storage."""

    def __init__(self) -> None:
        super().__init__()
        self.filled: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _draws_random_numbers(func):
            self.filled.append(result)
        return result


class _Seeder(TorchDispatchMode):
    """Seeds the generator before each random operation, from the seed and the operation's key."""

    def __init__(self, seed: int, keys: list[str]) -> None:
        super().__init__()
        self.seed = seed
        self.keys = keys
        self.position = 0
        self.draws: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _draws_random_numbers(func):
            key = self.keys[self.position]
            torch.manual_seed(derive_seed(self.seed, "weights", key, self.draws[key]))
            self.position += 1
            self.draws[key] += 1
        return func(*args, **(kwargs or {}))


def seeded_build(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module whose random tensors are each drawn from (seed, tensor name).

    The module is built twice on the CPU. The first build shows which tensor each random operation of the module's own
    initialisation fills; in the second, the generator is seeded before each of these operations from the run's seed
    and the tensor's name. So the library's initialisation schemes are kept exactly, and changing the shape of one
    tensor (another number of input channels or of classes) changes the values of no other. A random operation that
    fills no parameter or buffer directly (the values are copied later) is keyed by its position among the operations.

    Args:
        build: makes the module, on the CPU; must do the same each time.
        seed: the run's seed.

    Raises:
        RuntimeError: the two builds drew random numbers in different ways.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with _Recorder() as recorder:
            first = build()
        names = {tensor.untyped_storage().data_ptr(): name for name, tensor in first.state_dict().items()}
        keys = [
            names.get(tensor.untyped_storage().data_ptr(), f"operation {position}")
            for position, tensor in enumerate(recorder.filled)
        ]
        del first
        torch.manual_seed(0)
        seeder = _Seeder(seed, keys)
        with seeder:
            module = build()
    if seeder.position != len(keys):
        raise RuntimeError(f"building the model drew {len(keys)} times, then {seeder.position} times")
    return module
