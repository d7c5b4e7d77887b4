"""Random weights that depend only on the seed and the tensor's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.seeding import derive_seed


class _RandomOperations(TorchDispatchMode):
    """Calls a function before each random operation, with its position, and collects the tensors that are filled.

    The tensors are kept alive so that no two of them share storage.
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

    The module is built twice on the CPU. The first build shows which tensor is filled by each random operation of the
    module's initialisation; in the second, the generator is seeded from the run's seed and the tensor's name before
    each operation. The library's initialisation schemes are thus kept exactly, and the shape of one tensor (another
    number of input channels or classes) does not affect the values of another. An operation that does not fill a
    parameter or buffer directly (its values are copied later) is identified by its position.

    Args:
        build: builds the module on the CPU, in the same way each time.
        seed: seed of the run.

    Raises:
        RuntimeError: the two builds drew different numbers of random tensors.
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
        raise RuntimeError(f"the first build drew {len(keys)} random tensors, the second {len(seeded.filled)}")
    return module
