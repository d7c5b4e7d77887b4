from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.matrix import Matrix, list_not_applicable
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
    with pytest.raises(UserError, match="not the file that the matrix names"):
        identify_weights(made, verify=True)
    with pytest.raises(UserError, match=r"none\.pth cannot be read \(No such file"):
        identify_weights(weighted(f"file:{tmp_path / 'none.pth'}"))
    with pytest.raises(ValueError, match="no id before its content is identified"):
        ids(weighted(f"file:{file_of_weights}"))
