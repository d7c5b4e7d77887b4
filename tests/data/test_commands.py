"""The `datasets` verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.cli.datasets import app
from benchmark.data.catalogue import CATALOGUE
from benchmark.data.decoding.derived import map_rows, three_views
from benchmark.errors import UserError
from benchmark.matrix.augmentations import AUGMENTATIONS
from tests.data.conftest import write
from tests.factories import picture, save


def invoke(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def write_matrix(folder: Path, dataset: str, *lines: str) -> str:
    """Write a matrix over one dataset and return its path."""
    head = f"name: m\nmodels: [timm/test_resnet]\nweights: none\ndatasets: ['{dataset}']\n"
    training = "policies: [scratch]\nseeds: [0]\ntraining: {image_size: 24, epochs: 2, head_epochs: 1}\n"
    (folder / "m.yaml").write_text(head + training + "".join(f"{line}\n" for line in lines))
    return str(folder / "m.yaml")


def test_list_names_every_dataset_and_its_state(data: Path) -> None:
    lines = invoke("list", "--data-dir", str(data)).splitlines()
    states = {line.split()[0]: line for line in lines}
    assert set(CATALOGUE) <= set(states)
    assert "1034/133/128" in states["beans"]
    assert "incomplete: 18 images in the train split, the original has 1034" in states["beans"]
    assert states["pets"].endswith("missing")
    assert "  1800 in folds  " in states["neu"]
    assert "  data directory  " in states["neu"]
    assert states["breastmnist-64"].split()[2] == "546/78/156"


def test_prepare_with_a_matrix_decodes_what_it_needs(data: Path, cache: Path, tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path, "beans", "input_modes: [rgb, grey-1ch, grey-3ch]")
    output = invoke("prepare", "--matrix", matrix, "--data-dir", str(data))
    assert "18 train, 6 validation, 9 test images" in output
    decoded = sorted(path.name.rsplit("-", 1)[0] for path in (cache / "images").glob("*.npy"))
    assert decoded == ["beans-24-grey", "beans-24-rgb"]


def test_prepare_takes_a_folder_of_grey_images_and_drops_bad_ones_when_the_matrix_says_so(
    cache: Path, tmp_path: Path
) -> None:
    for index in range(24):
        save(picture(index).convert("L"), tmp_path / "mine" / "ab"[index % 2] / f"{index}.png")
    (tmp_path / "mine" / "a" / "bad.png").write_bytes(b"")
    lines = ("input_modes: [rgb, grey-1ch]", "on_bad_image: drop")
    output = invoke("prepare", "--matrix", write_matrix(tmp_path, f"folder:{tmp_path / 'mine'}", *lines))
    assert "1 of 25 images dropped" in output
    assert "test images in fold 0, fingerprint" in output
    assert [path.name.rsplit("-", 1)[0] for path in (cache / "images").glob("*.npy")] == ["mine-24-grey"]


@pytest.mark.parametrize("words", [["prepare", "baens"], ["check", "baens"], ["show", "baens"]])
def test_the_right_word_is_suggested_for_a_misspelt_dataset(words: list[str]) -> None:
    with pytest.raises(UserError, match="Did you mean 'beans'"):
        invoke(*words)


def test_check_ends_with_1_where_results_would_be_wrong_and_writes_all_it_found(tmp_path: Path) -> None:
    write(tmp_path / "images", *(f"{c}/{k}.png" for c in ("a", "b") for k in range(12)), side=48)
    invoke("check", f"folder:{tmp_path / 'images'}")
    (tmp_path / "images" / "a" / "bad.png").write_bytes(b"")
    report = tmp_path / "report.json"
    output = invoke("check", f"folder:{tmp_path / 'images'}", "--json", str(report), code=1)
    assert "zero-byte: a/bad.png: the file is empty" in output
    (finding,) = json.loads(report.read_text())["findings"]
    assert finding["kind"] == "zero-byte"
    assert finding["images"] == ["a/bad.png"]


def test_show_writes_a_contact_sheet_of_every_mode(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    invoke("show", "beans", "--data-dir", str(data), "--output", str(path), "--columns", "3", "--size", "40")
    with Image.open(path) as sheet:
        assert sheet.width == 150 + 3 * 44
        assert sheet.height > 9 * 44


def test_show_draws_maps_and_views_as_the_network_is_shown_them(data: Path, tmp_path: Path) -> None:
    path, side = tmp_path / "sheet.png", 40
    words = ["show", "beans", "--data-dir", str(data), "--output", str(path), "--columns", "2", "--size", str(side)]
    invoke(*words, "--mode", "grey-3ch", "--mode", "colormap", "--mode", "views", "--colormap", "jet")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    grey, coloured, views = (pixels[top : top + side, 150 : 150 + side] for top in (4, 4 + 44, 4 + 88))
    np.testing.assert_array_equal(coloured, map_rows("jet")[grey[..., 0]])
    np.testing.assert_array_equal(views, three_views(grey[..., :1]))
    with pytest.raises(UserError, match="--colormap: Matplotlib has no colour map 'jett'"):
        invoke(*words, "--colormap", "jett")


def test_the_gallery_has_a_row_of_each_augmentation_reproducible_from_the_seed(data: Path, tmp_path: Path) -> None:
    path, side = tmp_path / "gallery.png", 40
    words = ["show", "beans", "--data-dir", str(data), "--augment", "all", "--output", str(path), "--size", str(side)]
    invoke(*words, "--columns", "4", "--seed", "0")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet).copy()
    tops = range(4, pixels.shape[0] - side, side + 4)
    lefts = [150 + column * (side + 4) for column in range(4)]
    rows = [[pixels[top : top + side, left : left + side] for left in lefts] for top in tops]
    drawn = dict(zip(AUGMENTATIONS, rows, strict=True))
    assert set(drawn) == {
        *("resize", "crop", "hflip", "vflip", "rotation", "translation", "scaling", "padding"),
        *("brightness", "contrast", "saturation", "hue", "noise", "random-greyscale"),
    }, "what the sources name"
    original = rows[0][0]
    for name, (first, *treated) in drawn.items():
        assert (first == original).all(), name
        always = name in ("hflip", "vflip", "random-greyscale")
        changed = [tile.tobytes() for tile in treated if (tile != original).any()]
        assert len(changed) == 3 if always else len(changed) >= 2, name  # a drawn strength may be near zero
        assert len(set(changed)) == (1 if always else len(changed)), name
        assert (pixels[tops[list(drawn).index(name)] :][:side, :150] < 128).any(), f"{name} has a caption"
    assert (drawn["hflip"][1] == original[:, ::-1]).all()
    assert (drawn["vflip"][1] == original[::-1]).all()
    luma = np.asarray(Image.fromarray(original).convert("L"))
    assert (drawn["random-greyscale"][1] == luma[:, :, None]).all()
    invoke(*words, "--columns", "4", "--seed", "0")
    with Image.open(path) as again:
        assert (np.asarray(again) == pixels).all()
    invoke(*words, "--columns", "4", "--seed", "1")
    with Image.open(path) as other:
        assert (np.asarray(other) != pixels).any()


def test_show_refuses_colour_augmentations_on_grey(data: Path, tmp_path: Path) -> None:
    words = ["show", "beans", "--data-dir", str(data), "--augment", "hue", "--output", str(tmp_path / "x.png")]
    with pytest.raises(UserError, match="hue needs colour"):
        invoke(*words, "--mode", "grey-1ch")
    invoke(*words, "--mode", "rgb")
    with pytest.raises(UserError, match="not in 0"):
        invoke(*words[:-4], "--augment", "rotation={degrees: 900}")


def test_the_cache_is_listed_verified_and_cleared(data: Path, cache: Path, tmp_path: Path) -> None:
    test_prepare_with_a_matrix_decodes_what_it_needs(data, cache, tmp_path)
    assert invoke("cache", "list").count("complete") == 2
    file = next((cache / "images").glob("*-grey-*.npy"))
    file.write_bytes(b"\0" * 10 + file.read_bytes()[10:])
    assert "DAMAGED" in invoke("cache", "list", code=1)
    (cache / "generated" / "pets-1").mkdir(parents=True)
    (cache / "generated" / "pets-1" / "1.pgm").write_bytes(bytes(3 << 20))
    assert "3.0 MB" in invoke("cache", "list", code=1), "images that were made take room too"
    assert "3.0 MB removed" in invoke("cache", "clear", "pets")
    assert file.exists()
    invoke("cache", "clear", "beans")
    assert not file.exists()
    assert "0 files" in invoke("cache", "list")
