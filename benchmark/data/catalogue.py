"""Datasets known by name: their origin, licence, classes and layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

FOLDER = "folder:"
"""Start of the name of a user's own dataset; a path follows."""


@dataclass(frozen=True)
class ClassFolders:
    """One folder per split, each with one folder per class.

    Attributes:
        roots: folders under the data directory to look in, the first that fits is taken; ``"."`` is the directory.
        splits: the folder of each official split, below the root.
        clip: regular expression of file names whose first group names the clip that an image was taken from; used only
            if it fits every name.
        ignored: names of files in the archive that are not images of the dataset.
    """

    roots: tuple[str, ...]
    splits: Mapping[SplitName, str]
    clip: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnLayout:
    """A layout that `benchmark.data.layouts` knows by name.

    Attributes:
        kind: its name there.
        roots: folders under the data directory to look in; empty if the images come from elsewhere.
    """

    kind: Literal["elpv", "generated", "pets", "flowers"]
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
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
        return self.urls[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
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


_NO_LICENCE = CopyingTerms(
    allowed=False, reason="no licence is stated, so that nothing allows copies to be passed on", credit=""
)


@dataclass(frozen=True)
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
        images: number of images in each official split; ``train`` alone if there is no official split.
        megabytes: approximate size of the download or package; 0 for generated images.
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
    layout: ClassFolders | OwnLayout
    images: Mapping[SplitName, int]
    megabytes: int
    downloads: tuple[Download, ...] = ()
    caution: str = ""

    @property
    def folder(self) -> str:
        """The folder below the data directory that downloads are unpacked into."""
        return self.layout.roots[0].split("/")[0]

    @property
    def origin(self) -> str:
        """The host that is asked first, or `source` if nothing is downloaded."""
        if not self.downloads:
            return self.source
        scheme, _, rest = self.downloads[0].urls[0].partition("://")
        return "huggingface.co" if scheme == "hf" else rest.split("/")[0]


_CLASSES: Mapping[str, tuple[str, ...]] = {
    name: tuple(words)
    for name, words in json.loads(Path(__file__).with_name("class_names.json").read_text(encoding="utf-8")).items()
}
"""Class names of the larger datasets, in label order."""

_IBEANS = "https://storage.googleapis.com/ibeans"
_HUB_BEANS = "hf://datasets/AI-Lab-Makerere/beans/data"
_TENSORFLOW = "https://storage.googleapis.com/download.tensorflow.org/data"
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"

_KNOWN = (
    DatasetInfo(
        name="beans",
        classes=("angular_leaf_spot", "bean_rust", "healthy"),
        colour=True,
        licence="MIT",
        thumbnails=CopyingTerms(
            allowed=True,
            reason="the MIT licence allows copies that carry its notice",
            credit="Makerere AI Lab, ibean (2020)",
        ),
        source="data directory: beans/{train,validation,test}/<class>/",
        layout=ClassFolders(roots=("beans",), splits={"train": "train", "validation": "validation", "test": "test"}),
        images={"train": 1034, "validation": 133, "test": 128},
        megabytes=180,
        downloads=tuple(
            Download(urls=(f"{_HUB_BEANS}/{name}.zip", f"{_IBEANS}/{name}.zip"), hash=f"sha256:{digest}")
            for name, digest in (
                ("train", "284fe8456ce20687f4367ae7ad94a64577e7f9fde2c2c6b1c74340ab5dc82715"),
                ("validation", "90b7aa1c26d91d9afff07a30bbc67a5ea34f1f1397f068d8675be09d7d0c602d"),
                ("test", "ca67b15d960d1e2fd9d23fd8498ce86818ead90755c630a43baf19ec4af09312"),
            )
        ),
    ),
    DatasetInfo(
        name="rps",
        classes=("paper", "rock", "scissors"),
        colour=True,
        licence="CC BY 4.0",
        thumbnails=CopyingTerms(
            allowed=True,
            reason="CC BY allows copies that name the author",
            credit="Laurence Moroney, Rock-Paper-Scissors (2019)",
        ),
        source="data directory: rps/{rps,rps-test-set}/<class>/",
        layout=ClassFolders(
            roots=("rps", "."),
            splits={"train": "rps", "test": "rps-test-set"},
            clip=r"((?:test)?(?:paper|rock|scissors)\d\d(?:-[a-z]\d\d)?)-\d{2,3}\.png",
        ),
        images={"train": 2520, "test": 372},
        megabytes=220,
        downloads=(
            Download(
                urls=(f"{_TENSORFLOW}/rps.zip",),
                hash="sha256:c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
            ),
            Download(
                urls=(f"{_TENSORFLOW}/rps-test-set.zip",),
                hash="sha256:c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503",
            ),
        ),
        caution="the 372 test images are 31 frames each of 12 rendered clips, four hands a class.",
    ),
    DatasetInfo(
        name="pets",
        classes=_CLASSES["pets"],
        colour=True,
        licence="CC BY-SA 4.0",
        thumbnails=CopyingTerms(
            allowed=True,
            reason="CC BY-SA allows copies, also made smaller, under the same licence that name the authors",
            credit="Parkhi, Vedaldi, Zisserman and Jawahar, The Oxford-IIIT Pet Dataset (2012)",
        ),
        source="data directory: oxford-iiit-pet/{images,annotations}/",
        layout=OwnLayout(kind="pets", roots=("oxford-iiit-pet", "pets")),
        images={"train": 3680, "test": 3669},
        megabytes=811,
        downloads=(
            Download(
                urls=(f"{_OXFORD}/pets/data/images.tar.gz",),
                hash="sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            ),
            Download(
                urls=(f"{_OXFORD}/pets/data/annotations.tar.gz",),
                hash="sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            ),
        ),
    ),
    DatasetInfo(
        name="flowers102",
        classes=_CLASSES["flowers102"],
        colour=True,
        licence="not stated; for research",
        thumbnails=_NO_LICENCE,
        source="data directory: flowers-102/jpg/, imagelabels.mat, setid.mat",
        layout=OwnLayout(kind="flowers", roots=("flowers-102", "flowers102")),
        images={"train": 1020, "validation": 1020, "test": 6149},
        megabytes=345,
        downloads=(
            Download(urls=(f"{_OXFORD}/flowers/102/102flowers.tgz",), hash="md5:52808999861908f626f3c1f4e79d11fa"),
            Download(urls=(f"{_OXFORD}/flowers/102/imagelabels.mat",), hash="md5:e0620be6f572b9609742df49c70aed4d"),
            Download(urls=(f"{_OXFORD}/flowers/102/setid.mat",), hash="md5:a5357ecc9cb78c4bef273ce3793fc85c"),
        ),
    ),
    DatasetInfo(
        name="hotdog",
        classes=("hotdog", "not-hotdog"),
        colour=True,
        licence="not stated; from ImageNet, for research",
        thumbnails=_NO_LICENCE,
        source="data directory: hotdog/hotdog/{train,test}/<class>/",
        layout=ClassFolders(roots=("hotdog/hotdog", "hotdog"), splits={"train": "train", "test": "test"}),
        images={"train": 2000, "test": 800},
        megabytes=260,
        downloads=(
            Download(
                urls=("http://d2l-data.s3-accelerate.amazonaws.com/hotdog.zip",),
                hash="sha1:fba480ffa8aa7e0febbb511d181409f899b9baa5",
            ),
        ),
    ),
    DatasetInfo(
        name="hymenoptera",
        classes=("ants", "bees"),
        colour=True,
        licence="not stated; from ImageNet, for research",
        thumbnails=_NO_LICENCE,
        source="data directory: hymenoptera/hymenoptera_data/{train,val}/<class>/",
        layout=ClassFolders(
            roots=("hymenoptera/hymenoptera_data", "hymenoptera_data", "hymenoptera"),
            splits={"train": "train", "test": "val"},
            ignored=("imageNotFound.gif",),
        ),
        images={"train": 244, "test": 153},
        megabytes=47,
        downloads=(Download(urls=("https://download.pytorch.org/tutorial/hymenoptera_data.zip",), hash=None),),
    ),
    DatasetInfo(
        name="elpv",
        classes=("functional", "defective"),
        colour=False,
        licence="CC BY-NC-SA 4.0",
        thumbnails=CopyingTerms(
            allowed=True,
            reason="CC BY-NC-SA allows copies, also made smaller, that name the authors, under the same licence and "
            "for non-commercial purposes",
            credit="Buerhop-Lutz, Deitsch, Maier and others, elpv-dataset, ZAE Bayern (2018)",
        ),
        source="PyPI package elpv-dataset",
        layout=OwnLayout(kind="elpv"),
        images={"train": 2223},
        megabytes=90,
        caution="the cells were cut from 44 modules that the dataset does not name, so that cells of one module are "
        "trained on and tested: on other modules accuracy may be lower and intervals wider.",
    ),
    *(
        DatasetInfo(
            name=name,
            classes=classes,
            colour=True,
            licence="generated here",
            thumbnails=CopyingTerms(allowed=True, reason="generated here", credit="this benchmark"),
            source="generated",
            layout=OwnLayout(kind="generated"),
            images={"train": 480, "validation": 120, "test": 400},
            megabytes=0,
        )
        for name, classes in (("hue-control", ("red", "blue")), ("shape-control", ("lying", "standing")))
    ),
)

CATALOGUE: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _KNOWN})
