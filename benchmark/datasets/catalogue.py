"""The datasets known by name: what they are, before anything is read. No torch, no image library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ClassFolders:
    """A folder a split, and in it a folder a class.

    Attributes:
        roots: folders under the data directory to look in, the first that fits is taken; ``"."`` is the directory.
        splits: the folder of each official split, below the root.
        clip: regular expression of file names whose first group names the clip that an image was taken from; it counts
            only where it fits every name.
    """

    roots: tuple[str, ...]
    splits: Mapping[SplitName, str]
    clip: str | None = None


@dataclass(frozen=True)
class OwnLayout:
    """A layout that `benchmark.datasets.layouts` knows by name.

    Attributes:
        kind: which one.
        roots: folders under the data directory to look in; none where the images come from elsewhere.
    """

    kind: Literal["elpv", "generated"]
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """One catalogue entry.

    Attributes:
        name: the word in a matrix's ``datasets`` list.
        summary: one line for people.
        classes: class names in label order: label ``k`` is ``classes[k]``.
        colour: False when the images have no colour, so that ``rgb`` is not applicable.
        licence: of the images.
        source: where the images come from.
        layout: how they lie on disk.
    """

    name: str
    summary: str
    classes: tuple[str, ...]
    colour: bool
    licence: str
    source: str
    layout: ClassFolders | OwnLayout


_KNOWN = (
    DatasetInfo(
        name="beans",
        summary="bean leaves: two diseases and healthy; splits 1034/133/128",
        classes=("angular_leaf_spot", "bean_rust", "healthy"),
        colour=True,
        licence="MIT",
        source="data directory: beans/{train,validation,test}/<class>/",
        layout=ClassFolders(roots=("beans",), splits={"train": "train", "validation": "validation", "test": "test"}),
    ),
    DatasetInfo(
        name="rps",
        summary="rendered hands: rock, paper, scissors; train 2520, test 372, validation drawn by group",
        classes=("paper", "rock", "scissors"),
        colour=True,
        licence="CC BY 4.0",
        source="data directory: rps/{rps,rps-test-set}/<class>/",
        layout=ClassFolders(
            roots=("rps", "."),
            splits={"train": "rps", "test": "rps-test-set"},
            clip=r"((?:paper|rock|scissors)\d\d(?:-[a-z]\d\d)?)-\d{3}\.png",
        ),
    ),
    DatasetInfo(
        name="elpv",
        summary="solar cells in electroluminescence: functional or defective; 2223 images, splits drawn",
        classes=("functional", "defective"),
        colour=False,
        licence="CC BY-NC-SA 4.0",
        source="PyPI package elpv-dataset",
        layout=OwnLayout(kind="elpv"),
    ),
    DatasetInfo(
        name="hue-control",
        summary="generated: classes differ only in hue; rgb must learn it, grey cannot",
        classes=("red", "blue"),
        colour=True,
        licence="generated here",
        source="generated",
        layout=OwnLayout(kind="generated"),
    ),
    DatasetInfo(
        name="shape-control",
        summary="generated: classes differ only in shape; every input mode must learn it",
        classes=("lying", "standing"),
        colour=True,
        licence="generated here",
        source="generated",
        layout=OwnLayout(kind="generated"),
    ),
)

CATALOGUE: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _KNOWN})
