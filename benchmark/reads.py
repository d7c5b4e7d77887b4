"""Every place that a matrix's runs would read, before anything is read. No torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.catalogue import CATALOGUE, FOLDER, DatasetInfo, OwnLayout
from benchmark.datasets.controls import control_place
from benchmark.datasets.folders import list_folder
from benchmark.datasets.layouts import elpv_root, root_of
from benchmark.datasets.locations import cache_directory, data_directory
from benchmark.errors import UserError
from benchmark.matrix import CONTENT, FILE, RunSpec
from benchmark.weights_identity import PYPI_MODELS, packaged_file


@dataclass(frozen=True)
class Read:
    """A place that is read.

    Attributes:
        what: it is, in words.
        path: a file, or a folder of which everything may be read; absolute, links and ``..`` resolved. None: of a
            Python package that is not installed.
        state: whether it is there, and what happens where it is not.
    """

    what: str
    path: Path | None
    state: str


def reads(matrix_file: Path, specs: Iterable[RunSpec], results: Path, data_dir: Path | None) -> list[Read]:
    """Return the places that some runs of a matrix read, each once.

    Args:
        matrix_file: it came from.
        specs: the runs.
        results: their folder.
        data_dir: see `data_directory`.
    """
    specs = list(specs)
    found = [_read("matrix", matrix_file, "missing")]
    for name in dict.fromkeys(spec.source.name for spec in specs):
        if name.startswith(FOLDER):
            found += _folder(name)
        else:
            found += _known(CATALOGUE[name], data_directory(data_dir))
    for weights, model in dict.fromkeys((spec.weights, spec.model) for spec in specs):
        found += _weights(weights, model)
    found.append(_read("cache", cache_directory(), "made by the first run"))
    found.append(_read("results", results, "made by the first run"))
    return list(dict.fromkeys(found))


def _read(what: str, path: Path, otherwise: str) -> Read:
    return Read(what, path.expanduser().resolve(), "there" if path.expanduser().exists() else otherwise)


def _folder(name: str) -> Iterator[Read]:
    """Yield a user's folder or CSV file, and each folder outside of it that its images lie in."""
    what, given = f"dataset {name}", Path(name.removeprefix(FOLDER)).expanduser()
    if not given.exists():
        yield _read(what, given, "missing")
        return
    try:
        files = [file.path for file in list_folder(given).files]
    except UserError as error:
        yield Read(what, given.resolve(), f"there, but {error}")
        return
    inside = (given if given.is_dir() else given.parent).resolve()
    folders = Counter(_real_folders(files))
    outside = {folder: count for folder, count in folders.items() if not folder.is_relative_to(inside)}
    yield Read(what, given.resolve(), f"there, {folders.total() - sum(outside.values())} images below its folder")
    for folder in sorted(outside):
        yield Read(f"{what}, outside of it", folder, f"there, {outside[folder]} images")


def _real_folders(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the folder that each file lies in, links resolved."""
    resolved: dict[Path, Path] = {}
    for file in files:
        if file.is_symlink():
            yield Path(os.path.realpath(file)).parent
            continue
        if file.parent not in resolved:
            resolved[file.parent] = file.parent.resolve()
        yield resolved[file.parent]


def _known(info: DatasetInfo, data: Path) -> Iterator[Read]:
    """Yield where a dataset of the catalogue lies; where it does not, what would be fetched, and into which folders."""
    what = f"dataset {info.name}"
    if info.downloads:
        root = root_of(info, data)
        if root is not None:
            yield _read(what, root, "missing")
            return
        yield _read(what, data / info.folder, f"missing: fetched from {info.origin}")
        for download in info.downloads:
            yield _read(f"{what}, archive", data / "downloads" / info.name / download.file, "missing: downloaded")
    elif isinstance(info.layout, OwnLayout) and info.layout.kind == "generated":
        yield _read(what, control_place(info.name), "missing: generated")
    else:
        yield _packaged(what, elpv_root())


def _packaged(what: str, path: Path | None) -> Read:
    if path is None:
        return Read(what, None, "missing: its Python package is not installed")
    return _read(what, path, "missing")


def _weights(weights: str, model: str) -> Iterator[Read]:
    what = f"weights of {model}"
    if weights.startswith(FILE):
        yield _read("weights", Path(weights.removeprefix(FILE).partition(CONTENT)[0]), "missing")
    elif weights == "pypi":
        family = model.partition(".")[0]
        if family in PYPI_MODELS:
            yield _packaged(what, packaged_file(family))
    elif weights == "hub":
        from huggingface_hub.constants import HF_HUB_CACHE

        otherwise = "missing: downloaded"
        if model.startswith("timm/"):
            yield _read(what, Path(HF_HUB_CACHE), otherwise)
        yield _read(what, _torch_hub() / "checkpoints", otherwise)  # timm's, too, where they are not on the hub


def _torch_hub() -> Path:
    """Return the folder of torch.hub, as it is documented there: asking torch itself would take seconds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub"
