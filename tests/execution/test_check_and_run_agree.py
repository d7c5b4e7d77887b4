"""One source of truth: a folder's errors in `datasets check` stop its runs, and nothing else of it does."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.data.load import check_dataset
from benchmark.errors import UserError
from benchmark.execution import forkserver, preflight
from benchmark.matrix.expand import expand
from benchmark.matrix.file import read_source
from benchmark.matrix.identify import identify_folders
from tests.factories import matrix, picture, save

FOLDERS = 30

Part = Callable[[Path, random.Random], object]


@pytest.fixture(autouse=True)
def no_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out the checks of networks, which are not about images."""
    monkeypatch.setattr(preflight, "call_in_side_process", lambda *arguments, progress: ((), (), ()))
    monkeypatch.setattr(forkserver, "start_importing", lambda: None)
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(tmp_path / "cache"))


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.png"))


def an_empty_file(folder: Path, draw: random.Random) -> None:
    draw.choice(images(folder)).with_name("empty.png").touch()


def half_a_file(folder: Path, draw: random.Random) -> None:
    path = draw.choice(images(folder))
    path.with_name("half.png").write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_copy(folder: Path, draw: random.Random) -> None:
    """Copy an image to any place: within its class and split, where it does no harm, or elsewhere."""
    path, place = draw.choice(images(folder)), draw.choice(images(folder)).parent
    shutil.copy(path, place / "copy.png")


def a_copy_in_another_format(folder: Path, draw: random.Random) -> None:
    path, place = draw.choice(images(folder)), draw.choice(images(folder)).parent
    with Image.open(path) as image:
        image.save(place / "copy.bmp")


def a_near_duplicate(folder: Path, draw: random.Random) -> None:
    path, place = draw.choice(images(folder)), draw.choice(images(folder)).parent
    with Image.open(path) as image:
        image.save(place / "near.jpg", quality=90)


def fewer_images_of_a_class(folder: Path, draw: random.Random) -> None:
    of_class = sorted(folder.rglob("b/*.png"))
    for path in draw.sample(of_class, len(of_class) - draw.randint(1, 12)):
        path.unlink()


def a_class_of_copies(folder: Path, draw: random.Random) -> None:
    of_class = sorted(folder.rglob("b/*.png"))
    for path in of_class[1:]:
        shutil.copy(of_class[0], path)


def grey_images(folder: Path, draw: random.Random) -> None:
    for path in images(folder):
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.save(path)


def a_table_of_patients(folder: Path, draw: random.Random) -> None:
    """Name a patient of each image: many or few of them, within a class and a split or not."""
    patients, apart = draw.choice([3, 12, 30]), draw.random() < 0.5
    lines = []
    for number, path in enumerate(images(folder)):
        parts = path.relative_to(folder).parts
        split = f",{parts[0]}" if len(parts) == 3 else ""
        own = "".join(parts[:-1]) if apart else ""
        lines.append(f"{'/'.join(parts)},{parts[-2]}{split},{own}{number % patients}")
    head = "path,label" + (",split" if lines[0].count(",") == 3 else "") + ",group"
    (folder / "labels.csv").write_text("\n".join([head, *lines]))


PARTS: tuple[Part, ...] = (
    *(a_copy, a_copy, a_copy_in_another_format, a_near_duplicate, fewer_images_of_a_class, a_class_of_copies),
    *(grey_images, an_empty_file, half_a_file),
)


def make_folder(folder: Path, draw: random.Random) -> Path:
    """Write two or three classes, in split folders or not, with none to two of `PARTS`."""
    splits = draw.choice([("",), ("",), ("train", "test"), ("train", "val", "test")])
    for split in splits:
        for label, name in enumerate("abc"[: draw.choice([2, 3]) if split in ("", "train") else 2]):
            for number in range(draw.randint(10, 16)):
                seed = draw.randrange(2**30)
                save(picture(4 * seed + label, 12), folder / split / name / f"{number}.png")
    for split in splits:  # every split has a folder of every class, some of them empty
        for name in {path.parent.name for path in images(folder)}:
            (folder / split / name).mkdir(exist_ok=True)
    for part in sorted(draw.sample(PARTS, draw.choice([0, 1, 1, 2])), key=PARTS.index):
        part(folder, draw)
    if draw.random() < 0.25:
        a_table_of_patients(folder, draw)
    return folder


def problems_of_runs(folder: Path) -> str:
    """Return what `plan --preflight` says about a folder's runs, empty if nothing is in their way."""
    entries: dict[str, Any] = {"datasets": [f"folder:{folder}"], "input_modes": ["grey-1ch"], "seeds": [0, 1, 2, 3, 4]}
    try:
        runs = expand(identify_folders(matrix(**entries, training={"image_size": 8})))
        found = preflight.preflight(runs, None, lambda what, done, total: None)
    except UserError as error:
        return str(error)
    return "\n".join(problem.message for problem in found.problems)


def errors_of_check(folder: Path) -> list[str]:
    """Return the first line of each error that `datasets check` prints, without the folder's name."""
    try:
        _, found = check_dataset(read_source(f"folder:{folder}"))
    except UserError as error:
        return [str(error)]
    lines = [finding.lines()[0] for finding in found if finding.severity == "error"]
    return [line.removeprefix("splits: ").rpartition(f"{folder}: ")[2] for line in lines]


@pytest.mark.slow
def test_check_and_run_agree_on_thirty_folders_of_good_and_bad_parts(tmp_path: Path) -> None:
    bad = 0
    for number in range(FOLDERS):
        folder = make_folder(tmp_path / f"folder {number}", random.Random(number))
        told, stopped = errors_of_check(folder), problems_of_runs(folder)
        assert bool(told) == bool(stopped), (number, told, stopped)
        assert all(line in stopped for line in told), (number, told, stopped)
        bad += bool(told)
    assert FOLDERS / 4 < bad < FOLDERS * 3 / 4
