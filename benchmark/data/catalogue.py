"""Datasets known by name: their origin, licence, classes and layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

FOLDER = "folder:"
"""Prefix of the name of a user's own dataset; a path follows."""

HUB = "hub:"
"""Prefix of the name of a repository of the Hugging Face hub; ``OWNER/NAME@COMMIT`` follows."""

OUTSIDE = (FOLDER, HUB)
"""Prefixes of the names of datasets that are not in the catalogue."""

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Layout:
    """The files of a dataset on disk; `benchmark.data.layouts` reads each kind.

    Attributes:
        kind: ``folders``: one folder per split with one folder per class in each, or only class folders if there are no
            official splits; ``medmnist``: one archive; the others: layouts of single datasets.
        roots: candidate folders below the data directory, of which the first that fits is used; ``"."`` is the
            directory itself; empty if the images come from elsewhere.
        splits: for ``folders``, the folder of each official split, below the root.
        clip: for ``folders``, a regular expression for file names, whose first group is the clip that an image was
            taken from; used only if it matches every name.
        clip_gap: for ``folders`` with numbered clips, the largest difference between neighbouring numbers of one clip.
        names: for ``folders``, a regular expression for the names of the images; other files are ignored.
        part: for ``pets``, a file next to the catalogue that lists the images of a subset.
        file: for ``medmnist``, the name of the archive.
        side: for ``medmnist``, pixels per side; for a subset of ``pets``, the largest length of the shorter side,
            pixels.
    """

    kind: Literal["folders", "elpv", "generated", "pets", "flowers", "medmnist"]
    roots: tuple[str, ...] = ()
    splits: Mapping[SplitName, str] = field(default_factory=dict)
    clip: str | None = None
    clip_gap: int = 0
    names: str = ".*"
    part: str = ""
    file: str = ""
    side: int = 0


@dataclass(frozen=True, config=_STRICT)
class Download:
    """One file to download: an archive (.zip, .tgz, .tar.gz) to unpack, or another file, which is kept as it is.

    Attributes:
        urls: addresses, in the order in which they are tried; ``hf://datasets/…`` is the Hugging Face hub.
        hash: ``sha256:…``, ``sha1:…`` or ``md5:…``, or None if the publisher gives no hash.
    """

    urls: tuple[str, ...]
    hash: str | None

    @property
    def file(self) -> str:
        """The file's name, the last part of its first address."""
        return self.urls[0].rsplit("/", 1)[1].partition("?")[0]


@dataclass(frozen=True, config=_STRICT)
class CopyingTerms:
    """Terms of the licence for keeping small copies of test images with the results and showing them in a report.

    Attributes:
        allowed: whether runs keep copies, see `benchmark.records.exhibits`.
        reason: the reason for this, from the licence.
        credit: the names that the licence requires next to the copies.
    """

    allowed: bool
    reason: str
    credit: str


@dataclass(frozen=True, config=_STRICT)
class DatasetInfo:
    """One catalogue entry.

    Attributes:
        name: the name in a matrix's ``datasets`` list.
        classes: class names in label order: label ``k`` is ``classes[k]``.
        colour: False if the images have no colour, so that ``rgb`` is not applicable.
        licence: the licence of the images.
        thumbnails: the terms for showing small copies in a report.
        source: the origin of the images, for messages.
        layout: the layout of the files on disk.
        images: number of images per official split; only ``train`` if the splits are drawn here.
        megabytes: approximate size of the download or package (for MedMNIST, before compression); 0 for generated
            images.
        downloads: the files to download.
        caution: the reason why accuracies and intervals are less reliable than on independent images, printed under a
            report's answer; empty if none is known.
    """

    name: str
    classes: tuple[str, ...]
    colour: bool
    licence: str
    thumbnails: CopyingTerms
    source: str
    layout: Layout
    images: Mapping[SplitName, int]
    megabytes: int
    downloads: tuple[Download, ...] = ()
    caution: str = ""

    @property
    def place(self) -> str:
        """The folder below the data directory that archives are unpacked into, or the one file that is downloaded."""
        folder = self.layout.roots[0].split("/")[0]
        return f"{folder}/{self.layout.file}" if self.layout.file else folder

    @property
    def origin(self) -> str:
        """The host of the first address, or `source` if nothing is downloaded (for a folder, the part before ``:``)."""
        if not self.downloads:
            return self.source.partition(":")[0]
        scheme, _, rest = self.downloads[0].urls[0].partition("://")
        return "huggingface.co" if scheme == "hf" else rest.split("/")[0]


MEDMNIST = Path(__file__).with_name("medmnist.json")
"""The natively grey sets, as in the package medmnist 3.0.2; `experiments.studies.medmnist_table` compares them."""

SIDES = (28, 64, 128, 224)
"""Image sizes in which each MedMNIST set is published, pixels per side."""


def _medmnist() -> Iterator[DatasetInfo]:
    for name, facts in json.loads(MEDMNIST.read_bytes()).items():
        images = {split: facts["n_samples"]["val" if split == "validation" else split] for split in SPLITS}
        for side in SIDES:
            size = "" if side == 28 else f"_{side}"
            yield DatasetInfo(
                name=name + size.replace("_", "-"),
                classes=tuple(facts["label"].values()),
                colour=False,
                licence=facts["license"],
                thumbnails=CopyingTerms(
                    allowed=True,
                    reason="CC BY allows copies that name the authors",
                    credit="Yang, Shi, Wei and others, MedMNIST v2 (2023), and the sources that they name",
                ),
                source=f"data directory: medmnist/{name}{size}.npz",
                layout=Layout(kind="medmnist", roots=("medmnist", "."), file=f"{name}{size}.npz", side=side),
                images=images,
                megabytes=-(-sum(images.values()) * side**2 // 2**20),
                downloads=(Download(urls=(facts[f"url{size}"],), hash=f"md5:{facts[f'MD5{size}']}"),),
            )


_FILE = Path(__file__).with_name("catalogue.json")

CATALOGUE: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        info.name: info
        for info in (*TypeAdapter(tuple[DatasetInfo, ...]).validate_json(_FILE.read_bytes()), *_medmnist())
    }
)
"""The entries of ``catalogue.json`` and the sets of ``medmnist.json`` by name."""
