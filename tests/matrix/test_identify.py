from __future__ import annotations

import argparse
import hashlib
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.matrix import Matrix, list_not_applicable
from benchmark.matrix.weights_header import first_channels
from benchmark.networks import weights
from benchmark.networks.libraries.find import find_architecture
from tests import factories


def make_folder(root: Path, *, colour: bool, images: int = 4) -> Path:
    generator = np.random.default_rng(0)
    for name in ("bad", "good"):
        (root / name).mkdir(parents=True)
        for number in range(images):
            pixels = generator.integers(0, 256, (20, 20, 3) if colour else (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def matrix(folder: Path, *overrides: str) -> Matrix:
    given = [f"datasets=[folder:{folder}]", "seeds=[0]", *overrides]
    return file.load(file.find("cpu"), given)


def ids(made: Matrix) -> list[str]:
    return [spec.id for spec in expand(made)]


def test_a_folder_enters_the_id_by_its_content_and_not_by_its_path(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "a" / "cells", colour=True)
    second = Path(shutil.copytree(first, tmp_path / "elsewhere"))
    assert ids(identify_folders(matrix(first))) == ids(identify_folders(matrix(second)))


@pytest.mark.parametrize("change", ["pixels", "class", "name"])
def test_other_images_classes_or_names_give_other_ids(change: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cells", colour=True)
    before = ids(identify_folders(matrix(folder)))
    if change == "pixels":
        Image.new("RGB", (20, 20)).save(folder / "good" / "0.png")
    elif change == "class":
        (folder / "good" / "0.png").rename(folder / "bad" / "moved.png")
    else:
        (folder / "good" / "0.png").rename(folder / "good" / "zero.png")
    assert not set(before) & set(ids(identify_folders(matrix(folder))))


def test_a_folder_without_colour_has_no_rgb_runs(tmp_path: Path) -> None:
    made = identify_folders(matrix(make_folder(tmp_path / "cells", colour=False)))
    assert {spec.input_mode for spec in expand(made)} == {"grey-3ch", "grey-1ch"}
    assert [pair.dataset for pair in list_not_applicable(made)] == ["cells"]
    with pytest.raises(UserError, match="rgb on cells: its images have no colour"):
        identify_folders(matrix(tmp_path / "cells", "input_modes=[rgb]"))


def test_a_folder_of_grey_images_saved_in_colour_has_no_colour_either(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cells", colour=False)
    for path in folder.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    made = identify_folders(matrix(folder))
    assert {spec.input_mode for spec in expand(made)} == {"grey-3ch", "grey-1ch"}
    pixels = np.asarray(Image.open(folder / "good" / "0.png")).copy()
    for change, modes in ((1, {"grey-3ch", "grey-1ch"}), (64, {"rgb", "grey-3ch", "grey-1ch"})):
        pixels[2:6, 2:6, 2] ^= change  # a lossy format changes grey by single levels
        Image.fromarray(pixels).save(folder / "good" / "0.png")
        assert {spec.input_mode for spec in expand(identify_folders(matrix(folder)))} == modes


def test_the_kept_matrix_gives_the_same_ids_without_the_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cells", colour=True)
    made = identify_folders(matrix(folder))
    kept = tmp_path / "matrix.yaml"
    kept.write_text(file.dump(made))
    shutil.rmtree(folder)
    assert ids(identify_folders(file.load(kept))) == ids(made)


def test_a_folder_that_has_changed_since_the_matrix_was_kept_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cells", colour=True)
    kept = tmp_path / "matrix.yaml"
    kept.write_text(file.dump(identify_folders(matrix(folder))))
    (folder / "good" / "0.png").unlink()
    with pytest.raises(UserError, match="have changed since the matrix was made"):
        identify_folders(file.load(kept), verify=True)


def test_a_run_of_an_unread_folder_has_no_id(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no id before its images are identified"):
        ids(matrix(tmp_path))


def test_a_class_that_the_folder_does_not_have_is_reported_with_the_nearest(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "cells", colour=True)
    with pytest.raises(UserError, match=r"no class 'god'\. Did you mean 'good'"):
        identify_folders(matrix(folder, f"datasets=[{{name: 'folder:{folder}', classes: [bad, god]}}]"))


def test_runs_are_identified_by_the_content_of_their_weights_file(tmp_path: Path) -> None:
    def weighted(weights: str) -> Matrix:
        return factories.matrix(policies=["finetune-whole"], weights=weights)

    file_of_weights = tmp_path / "model.pth"
    found = []
    for name, content in (("model.pth", b"1"), ("copy.pth", b"1"), ("model.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        made = identify_weights(weighted(f"file:{tmp_path / name}"))
        assert made.weights == f"file:{tmp_path / name}#sha256={hashlib.sha256(content).hexdigest()}"
        found += ids(made)
    assert found[0] == found[1] != found[2]
    assert identify_weights(made, verify=True) == made
    assert identify_weights(weighted("hub")).weights == "hub"
    file_of_weights.write_bytes(b"3")
    with pytest.raises(UserError, match="has changed since the matrix was written"):
        identify_weights(made, verify=True)
    with pytest.raises(UserError, match=r"none\.pth cannot be read \(No such file"):
        identify_weights(weighted(f"file:{tmp_path / 'none.pth'}"))
    with pytest.raises(ValueError, match="no id before the file's content is identified"):
        ids(weighted(f"file:{file_of_weights}"))


KINDS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "plain.safetensors": lambda state, path: save_file(state, path),
    "plain.pth": lambda state, path: torch.save(state, path),
    "parameters.pt": lambda state, path: torch.save({n: nn.Parameter(t, False) for n, t in state.items()}, path),
    "training.bin": lambda state, path: torch.save(
        {"model": OrderedDict(state), "optimizer": {"state": {0: state}}, "args": argparse.Namespace(lr=0.1)}, path
    ),
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("model", ["timm/test_resnet", "timm/test_efficientnet", "timm/test_vit"])
def test_weights_of_one_channel_are_known_by_their_header_and_noted_in_the_matrix(
    name: str, model: str, tmp_path: Path
) -> None:
    for channels, mark in ((1, ",channels=1"), (3, "")):
        state = find_architecture(model).create(2, channels).state_dict()
        KINDS[name]({tensor: value.float() for tensor, value in state.items()}, tmp_path / name)
        assert first_channels(tmp_path / name) == channels
        given = factories.matrix(
            policies=["finetune-whole"], weights=f"file:{tmp_path / name}", input_modes=["grey-1ch"]
        )
        made = identify_weights(given)
        assert re.fullmatch(rf"file:.*#sha256=[0-9a-f]{{64}}{mark}", made.weights)
        assert identify_weights(made, verify=True) == made
        (spec,) = expand(made)
        assert weights.load(model, spec.weights).state.keys() == state.keys()


def test_a_matrix_of_colour_alone_is_refused_for_weights_of_one_channel(tmp_path: Path) -> None:
    save_file(find_architecture("timm/test_resnet").create(2, 1).state_dict(), tmp_path / "grey.safetensors")
    given = factories.matrix(policies=["finetune-whole"], weights=f"file:{tmp_path / 'grey.safetensors'}")
    with pytest.raises(UserError, match="rgb on beans: the pretrained weights take one channel: grey-1ch uses them"):
        identify_weights(given)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n(S'exit 1'\ntR.", b"\xff" * 64])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_the_header_of_something_else_says_nothing_and_runs_nothing(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert first_channels(tmp_path / name) is None
