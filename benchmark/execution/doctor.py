"""Diagnosis for some runs: this machine, and sources and local copies of datasets and weights. Downloads nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from benchmark import environment
from benchmark.data.catalogue import CATALOGUE, FOLDER, HUB
from benchmark.errors import UserError
from benchmark.locations import cache_directory, expand_home
from benchmark.matrix.identify import PYPI_MODELS, find_packaged_file
from benchmark.matrix.run_spec import FILE, RunSpec, split_hash

LEAST_FREE = 2**28
"""Bytes of free disk below which a run is likely to stop."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        subject: what was examined.
        found: result in words.
        stops: whether it would stop the run.
        fetched: whether a run would download it first.
    """

    subject: str
    found: str
    stops: bool = False
    fetched: bool = False


def needs(specs: Iterable[RunSpec]) -> list[tuple[str, str]]:
    """Return the datasets and weights that some runs need, each with its source, without duplicates."""
    specs = list(specs)
    datasets = dict.fromkeys((f"dataset {spec.source.name}", _dataset_source(spec.source.name)) for spec in specs)
    pretrained = (spec for spec in specs if spec.weights != "none")
    weights = dict.fromkeys((f"weights {spec.model}", _weights_source(spec.model, spec.weights)) for spec in pretrained)
    return [*datasets, *weights]


def _dataset_source(name: str) -> str:
    """Return a server, a PyPI package, a path, or ``generated``."""
    if name.startswith(FOLDER):
        return str(expand_home(Path(name.removeprefix(FOLDER))).resolve())
    return _hub() if name.startswith(HUB) else CATALOGUE[name].origin


def _hub() -> str:
    return urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).netloc


def _weights_source(model: str, weights: str) -> str:
    """Return a server, a PyPI package or a path; ``weights`` is not ``none``."""
    if weights.startswith(FILE):
        return str(expand_home(Path(split_hash(weights)[0])).resolve())
    if weights == "pypi":
        package, _ = PYPI_MODELS.get(model.partition(".")[0], ("", ""))
        return f"PyPI package {package.replace('_', '-')}" if package else "not in any known PyPI package"
    if model.startswith("timm/"):
        return _hub()
    return "download.pytorch.org"


def examine_machine(precision: str, results: Path) -> Iterator[Finding]:
    """Yield versions, device, precision, free memory and free disk. Imports torch.

    Args:
        precision: precision in the matrix.
        results: results folder, which may be missing.
    """
    import psutil
    import torch

    from benchmark.training.devices import check_precision, choose_device, resolve_precision

    yield Finding("python", platform.python_version())
    for package, version in environment.package_versions().items():
        yield Finding(package, version)
    if ignored := environment.remove_settings():
        yield Finding("variables", f"ignored: {', '.join(ignored)}")
    for name, value in environment.variables_in_force().items():
        yield Finding("variable", f"{name}={value}")
    device = choose_device()
    on_gpu = device.type == "cuda"
    yield Finding("device", torch.cuda.get_device_name() if on_gpu else f"CPU: {environment.cpu_name()}")
    try:
        check_precision(precision, device)
        yield Finding("precision", f"{precision}: {resolve_precision(precision, device)}")
    except UserError as error:
        yield Finding("precision", str(error), stops=True)
    memory = psutil.virtual_memory()
    yield Finding("free memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB")
    for name, folder in (("results", results), ("cache", cache_directory())):
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(existing).free
        yield Finding(f"free disk, {name}", f"{free / 2**30:.1f} GB in {existing}", stops=free < LEAST_FREE)


def examine_datasets(specs: Iterable[RunSpec], data_dir: Path | None) -> Iterator[Finding]:
    """Yield whether each dataset of some runs is available here."""
    from benchmark.data.load import list_files

    for name, dataset in {spec.source.name: spec.source for spec in specs}.items():
        subject, source = f"dataset {name}", _dataset_source(name)
        downloaded = name in CATALOGUE and bool(CATALOGUE[name].downloads)
        if source == "generated":
            yield Finding(subject, "generated when needed")
            continue
        try:
            yield Finding(subject, f"{len(list_files(dataset, data_dir).files)} images")
        except UserError as error:
            found = f"not here; `run` downloads it from {source}" if downloaded else str(error)
            yield Finding(subject, found, stops=not downloaded, fetched=downloaded)


def examine_weights(specs: Iterable[RunSpec]) -> Iterator[Finding]:
    """Yield whether each network of some runs exists and its pretrained weights are available here. Imports torch."""
    from benchmark.networks.libraries.find import find_architecture

    for model, weights in dict.fromkeys((spec.model, spec.weights) for spec in specs):
        subject = f"weights {model}"
        try:
            find_architecture(model)
        except UserError as error:
            yield Finding(subject, str(error), stops=True)
            continue
        if weights == "none":
            continue
        source, on_hub = _weights_source(model, weights), weights == "hub"
        if _is_at_hand(model, weights):
            yield Finding(subject, f"here, from {source}")
        else:
            found = f"not here; `run` downloads them from {source}" if on_hub else f"not here: {source}"
            yield Finding(subject, found, stops=not on_hub, fetched=on_hub)


def _is_at_hand(model: str, weights: str) -> bool:
    library, _, name = model.partition("/")
    if weights.startswith(FILE):
        return Path(_weights_source(model, weights)).is_file()
    if weights == "pypi":
        family = model.partition(".")[0]
        path = find_packaged_file(family) if family in PYPI_MODELS else None
        return path is not None and path.is_file()
    if library == "timm":
        import timm
        from huggingface_hub import try_to_load_from_cache

        config = timm.get_pretrained_cfg(name)
        repository = None if config is None else config.hf_hub_id
        files = ("model.safetensors", "pytorch_model.bin")
        return repository is not None and any(isinstance(try_to_load_from_cache(repository, f), str) for f in files)
    import torch
    import torchvision

    url = torchvision.models.get_model_weights(name).DEFAULT.url
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name).is_file()
