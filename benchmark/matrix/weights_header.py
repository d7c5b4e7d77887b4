"""Channels that the network in a file of weights takes, from the shapes of its tensors, without PyTorch."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

Shape = tuple[int, ...]

_MOST_HEADER = 100 << 20
"""Bytes of a safetensors header, the format's own limit."""


def first_channels(path: Path) -> Literal[1, 3] | None:
    """Return the channels that a network takes: 3 if a convolution does, or 1 if one takes one and none takes three.

    A depthwise convolution takes one channel, too, but a network of three has one of three in front of it.

    Args:
        path: a safetensors file, or one of ``torch.save``, before PyTorch 1.6 or later. None of its code runs.

    Returns:
        None where that cannot be read, or there is no such convolution.
    """
    try:
        inputs = {shape[1] for shape in _shapes(path) if len(shape) == 4}
    except Exception:  # other bytes make an unpickler raise anything; the weights' loader says what is wrong with them
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
    """Stands for every class and function that a pickle names."""

    def __init__(self, *args: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Notes the shapes of tensors, and makes nothing else of what a pickle names."""

    def __init__(self, file: Any, found: list[Shape]) -> None:
        super().__init__(file)
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        return self._note if name.startswith("_rebuild_tensor") else _Anything

    def persistent_load(self, pid: object) -> None:
        """Return nothing for a tensor's storage."""

    def _note(self, storage: object, offset: int, shape: Shape, *rest: object) -> None:
        self._found.append(shape)
