"""Random weights that depend on nothing but the seed and the tensor's own name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.seeding import derive_seed


class _RandomOperations(TorchDispatchMode):
    """Calls a function with the position of each random operation before it, and collects the tensors they fill.

    The tensors stay alive, so that none shares another's storage.
    """

    def __init__(self, before: Callable[[int], object]) -> None:
        super().__init__()
        self.before = before
        self.filled: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_random = torch.Tag.nondeterministic_seeded in func.tags
        if is_random:
            self.before(len(self.filled))
        result = func(*args, **(kwargs or {}))
        if is_random:
            self.filled.append(result)
        return result


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
    draws: Counter[str] = Counter()

    def seed_operation(position: int) -> None:
        key = keys[position]
        torch.manual_seed(derive_seed(seed, "weights", key, draws[key]))
        draws[key] += 1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with _RandomOperations(lambda position: None) as unseeded:
            first = build()
        names = {tensor.untyped_storage().data_ptr(): name for name, tensor in first.state_dict().items()}
        keys = [
            names.get(tensor.untyped_storage().data_ptr(), f"operation {position}")
            for position, tensor in enumerate(unseeded.filled)
        ]
        del first, unseeded
        torch.manual_seed(0)
        with _RandomOperations(seed_operation) as seeded:
            module = build()
    if len(seeded.filled) != len(keys):
        raise RuntimeError(f"building the model drew {len(keys)} times, then {len(seeded.filled)} times")
    return module
