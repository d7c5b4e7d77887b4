"""Input channels of the network in a weights file, from the shapes of its tensors, without PyTorch."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

Shape = tuple[int, ...]

_MOST_HEADER = 100 << 20
"""Maximum size of a safetensors header, the format's limit, bytes."""


def first_channels(path: Path) -> Literal[1, 3] | None:
    """Return a network's input channels: 3 if any convolution takes three, else 1 if any takes one.

    Depthwise convolutions also take one channel, but a network for three channels has another convolution before them.

    Args:
        path: a safetensors file, or a file written by any version of ``torch.save``. None of its code is run.

    Returns:
        The channels, or None if the file cannot be read or has no such convolution.
    """
    try:
        inputs = {shape[1] for shape in _shapes(path) if len(shape) == 4}
    except Exception:  # other files may raise anything in an unpickler; loading the weights reports the problem
        return None
    return 3 if 3 in inputs else 1 if 1 in inputs else None


def _shapes(path: Path) -> Iterator[Shape]:
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _MOST_HEADER)))
        return (tuple(tensor["shape"]) for tensor in header.values() if "shape" in tensor)
    found: list[Shape] = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                _Unpickler(file, found).load()
    else:
        with path.open("rb") as file:
            for _ in ("magic number", "version", "platform", "content"):
                _Unpickler(file, found).load()
    return iter(found)


class _Anything(dict[Any, Any]):
    """Substitute for every class and function named by a pickle."""

    def __init__(self, *args: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Unpickler that collects the shapes of tensors and creates nothing else."""

    def __init__(self, file: Any, found: list[Shape]) -> None:
        super().__init__(file)
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        return self._note if name.startswith("_rebuild_tensor") else _Anything

    def persistent_load(self, pid: object) -> None:
        """Return nothing for a tensor's storage."""

    def _note(self, storage: object, offset: int, shape: Shape, *rest: object) -> None:
        self._found.append(shape)
