"""What stands in the way of a matrix on this machine, and how fast it is: nothing is downloaded, nothing is trained."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import requests

from benchmark.datasets.assignment import FOLDS
from benchmark.datasets.catalogue import CATALOGUE
from benchmark.datasets.index import open_index
from benchmark.datasets.listing import Listing
from benchmark.datasets.opening import list_files
from benchmark.datasets.parallel import processors
from benchmark.datasets.source import DatasetSource
from benchmark.errors import UserError
from benchmark.forecast import ImageCount
from benchmark.matrix import RunSpec

CONNECT_SECONDS = 3.0
DECODED = 128
"""Images that the rate of decoding is measured on, at most."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        what: that was looked at.
        found: in words.
        stops: it would stop the run.
    """

    what: str
    found: str
    stops: bool = False


def reachable(url: str) -> bool:
    """Return whether a server answers within `CONNECT_SECONDS`, whatever it answers; nothing is tried again."""
    try:
        requests.head(url, timeout=CONNECT_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def hub_of(model: str) -> str:
    """Return the server that a model's own weights come from."""
    if model.startswith("timm/"):
        return os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return "https://download.pytorch.org"


def datasets_of(specs: Iterable[RunSpec], data_dir: Path | None) -> tuple[list[Finding], list[Listing]]:
    """Look for the datasets of some runs; one that can be fetched stops nothing while its server answers."""
    findings, found = [], []
    for name, title in {spec.source.name: spec.dataset for spec in specs}.items():
        info = CATALOGUE.get(name)
        if info is not None and info.source == "generated":
            findings.append(Finding(f"dataset {title}", "generated when needed"))
            continue
        try:
            listing = list_files(name, data_dir)
        except UserError as error:
            server = urlparse(info.downloads[0].urls[0]) if info is not None and info.downloads else None
            if server is not None and reachable(f"{server.scheme}://{server.netloc}"):
                findings.append(Finding(f"dataset {title}", f"not here; `run` fetches it from {server.netloc}"))
            else:
                findings.append(Finding(f"dataset {title}", str(error), stops=True))
            continue
        findings.append(Finding(f"dataset {title}", f"{len(listing.files)} images"))
        found.append(listing)
    return findings, found


def folder_counts(specs: Iterable[RunSpec]) -> tuple[tuple[DatasetSource, ImageCount], ...]:
    """Return the images of the user's folders among some runs, which no catalogue knows.

    Raises:
        UserError: images cannot be decoded, or there are too few for the splits.
    """
    counts = {}
    for spec in {spec.source: spec for spec in specs if spec.source.is_folder and spec.source.classes is None}.values():
        splits = Counter(open_index(list_files(spec.source.name), spec.split_seed, fold=spec.seed % FOLDS).splits)
        train = min(splits["train"], spec.source.limit or splits["train"])
        counts[spec.source.portable] = ImageCount(train, splits["validation"] + splits["test"])
    return tuple(counts.items())


def weights_of(specs: Iterable[RunSpec]) -> list[Finding]:
    """Look for pretrained weights; of the hub's those that are cached are loaded, without asking the hub."""
    from benchmark import models, weights

    findings = []
    for model, source in dict.fromkeys((spec.model, spec.weights) for spec in specs):
        try:
            models.check_name(model)
            if source == "none":
                continue
            if source == "hub" and not cached(model):
                hub = hub_of(model)
                if reachable(hub):
                    findings.append(Finding(f"weights {model}", f"not here; `run` fetches them from {hub}"))
                else:
                    findings.append(Finding(f"weights {model}", f"not here, and {hub} does not answer", stops=True))
                continue
            findings.append(Finding(f"weights {model}", weights.load(model, source).origin))
        except UserError as error:
            findings.append(Finding(f"weights {model}", str(error), stops=True))
    return findings


def cached(model: str) -> bool:
    """Return whether a model's own weights lie in its library's cache."""
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


def decode_rate(listings: Sequence[Listing], size: int) -> float | None:
    """Return the images that are read, decoded and resized in a second, with one thread a processor.

    Args:
        listings: the datasets that are here; the first images of the first are taken.
        size: pixels a side.

    Returns:
        None where no dataset is here, or none of the images can be decoded.
    """
    from benchmark.datasets.pixels import BadImage, read_image, resized

    def decode(path: Path) -> bool:
        try:
            resized(read_image(path.read_bytes()), size, grey=True)
        except (OSError, BadImage):
            return False
        return True

    paths = [file.path for file in listings[0].files[:DECODED]] if listings else []
    started = time.perf_counter()
    with ThreadPoolExecutor(processors()) as threads:
        good = sum(threads.map(decode, paths))
    return good / (time.perf_counter() - started) if good else None
