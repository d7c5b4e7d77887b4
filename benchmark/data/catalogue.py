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
"""Start of the name of a user's own dataset; a path follows."""

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Layout:
    """The files of a dataset on disk; `benchmark.data.layouts` reads each kind.

    Attributes:
        kind: ``folders`` is one folder per split, each with one folder per class, or without official splits the
            latter alone; ``medmnist`` one archive; the others are the datasets' own.
        roots: folders under the data directory to look in, the first that fits is taken, ``"."`` for the directory;
            empty if the images come from elsewhere.
        splits: of ``folders``, the folder of each official split, below the root.
        clip: of ``folders``, a regular expression of file names whose first group names the clip that an image was
            taken from; used only if it fits every name.
        apart: of ``folders`` whose clips are named by numbers, the largest difference between neighbours of one clip.
        names: of ``folders``, a regular expression of the names of its images; other files are not of the dataset.
        part: of ``pets``, a file next to the catalogue that lists the images of a subset.
        file: of ``medmnist``, the archive's name.
        side: of ``medmnist``, pixels of both sides; of a part of ``pets``, of the shorter side at most.
    """

    kind: Literal["folders", "elpv", "generated", "pets", "flowers", "medmnist"]
    roots: tuple[str, ...] = ()
    splits: Mapping[SplitName, str] = field(default_factory=dict)
    clip: str | None = None
    apart: int = 0
    names: str = ".*"
    part: str = ""
    file: str = ""
    side: int = 0


@dataclass(frozen=True, config=_STRICT)
class Download:
    """One file of a dataset's origin: an archive (.zip, .tgz, .tar.gz) to unpack, or a file to take as it is.

    Attributes:
        urls: its addresses, in the order in which they are tried; ``hf://datasets/…`` is the Hugging Face hub.
        hash: ``sha256:…``, ``sha1:…`` or ``md5:…``, or None if its publisher names no hash.
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
        allowed: whether a run keeps them, see `benchmark.records.exhibits`.
        reason: why, or why not, from the licence.
        credit: the names that the licence asks for next to the copies.
    """

    allowed: bool
    reason: str
    credit: str


@dataclass(frozen=True, config=_STRICT)
class DatasetInfo:
    """One catalogue entry.

    Attributes:
        name: the word in a matrix's ``datasets`` list.
        classes: class names in label order: label ``k`` is ``classes[k]``.
        colour: False if the images have no colour, so that ``rgb`` is not applicable.
        licence: of the images.
        thumbnails: whether the licence lets a report show them.
        source: where the images come from, for messages.
        layout: of the files on disk.
        images: number of images in each official split; ``train`` alone if the splits are drawn here.
        megabytes: approximate size of the download or package (of MedMNIST's, before compression); 0 for generated
            images.
        downloads: the files of its origin.
        caution: why accuracies and intervals mean less than on independent images, which a report says under its
            answer; empty if nothing is known.
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
"""The natively grey sets in the table of the package medmnist 3.0.2: `experiments.studies.medmnist_table` compares."""

SIDES = (28, 64, 128, 224)
"""Pixels per side of each MedMNIST set's archives."""


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
