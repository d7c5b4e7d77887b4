from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.cli.predict import escape_unprintable
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import Trial
from benchmark.records.store import Store
from benchmark.trained.find import find_run, find_winner
from benchmark.trained.predict import list_images, predict
from benchmark.trained.restore import open_run
from tests import factories
from tests.factories import TrainedRuns

pytestmark = pytest.mark.slow  # the runs that these tests are about take some seconds


@pytest.mark.parametrize("mode", INPUT_MODES)
def test_predictions_of_the_test_images_are_the_records(applied: TrainedRuns, mode: str) -> None:
    record = applied.record(mode)
    stored = applied.store.predictions(record).to_frame()
    assert len(stored) == 24
    run = open_run(record, applied.weights(mode))
    found = list(predict(run, [applied.images / name for name in stored["image_id"]]))
    shares = np.stack([each.probabilities for each in found if each.probabilities is not None])
    np.testing.assert_allclose(shares, stored[["p0", "p1"]].to_numpy(), atol=1e-5)
    assert np.ptp(shares[:, 0]) > 0.01, "the images must differ in their answers, or nothing is compared"


def test_the_command_prints_what_the_record_holds(applied: TrainedRuns) -> None:
    record = find_winner(applied.results, "applied").record
    stored = applied.store.predictions(record).to_frame()
    paths = [str(applied.images / name) for name in stored["image_id"]]
    done = applied.command("predict", "--best", "applied", *paths, "--csv")
    assert done.returncode == 0, done.stderr
    assert record.id in done.stderr.decode()
    table = pd.read_csv(io.BytesIO(done.stdout))
    assert list(table.columns) == ["path", "class", "p(lying)", "p(standing)"]
    assert list(table["path"]) == paths
    np.testing.assert_allclose(table[["p(lying)", "p(standing)"]], stored[["p0", "p1"]], atol=1e-5)
    assert record.dataset is not None
    assert list(table["class"]) == [record.dataset.classes[k] for k in stored["predicted"]]


HOSTILE = [b"=1+1.png", b"new\nline.png", b'comma, "quote".png', b"\x1b[31mred.png", b"caf\xe9.png", b"-x.png"]


def test_hostile_names_and_bad_images_are_told_and_the_others_are_predicted(
    applied: TrainedRuns, tmp_path: Path
) -> None:
    good = next(iter(sorted((applied.images / "lying").glob("*.png"))))
    folder = tmp_path / "given"
    folder.mkdir()
    for name in HOSTILE:
        shutil.copyfile(good, os.fsencode(folder) + b"/" + name)
    (folder / "text\x1b]0;.png").write_text("no image")
    (folder / "empty.png").touch()
    shutil.copyfile(good, applied.folder / "=1+1.png")
    record = applied.record("rgb")
    output = tmp_path / "out.csv"
    arguments = [
        "predict",
        "--run",
        record.id,
        str(folder),
        str(folder / "missing.png"),
        "=1+1.png",
        "--output",
        str(output),
    ]
    done = applied.command(*arguments)
    assert done.returncode == 1
    told = done.stderr.decode()
    assert "\x1b" not in told
    for words in ("empty.png: the file is empty", "not an image", "missing.png: cannot be read", "3 of 10 files"):
        assert words in told
    rows = list(csv.reader(io.StringIO(output.read_text(encoding="utf-8"), newline="")))
    assert len(rows) == 1 + len(HOSTILE) + 1
    assert rows.pop()[0] == "./=1+1.png", "a path that no spreadsheet computes"
    shares = np.array([[float(share) for share in row[2:]] for row in rows[1:]])
    np.testing.assert_allclose(shares, shares[:1].repeat(len(shares), axis=0), atol=1e-6)
    names = {row[0].removeprefix(f"{folder}/") for row in rows[1:]}
    assert names == {name.decode("utf-8", "backslashreplace") for name in HOSTILE} - {"caf\\xe9.png"} | {
        "caf\\udce9.png"
    }


def test_best_takes_the_recommended_cell_and_its_seed_of_the_best_validation_accuracy(applied: TrainedRuns) -> None:
    scores = {}
    for mode in INPUT_MODES:
        for seed in (0, 1):
            validation = applied.record(mode, seed).validation
            assert validation is not None
            scores[mode, seed] = validation
    means = {mode: (scores[mode, 0].accuracy + scores[mode, 1].accuracy) / 2 for mode in INPUT_MODES}
    mode = next(mode for mode in INPUT_MODES if means[mode] == max(means.values()))
    seed = min((0, 1), key=lambda s: (-scores[mode, s].accuracy, scores[mode, s].log_loss))
    chosen = find_winner(applied.results, "applied")
    assert (chosen.record.spec.input_mode, chosen.record.spec.seed) == (mode, seed)
    assert f"{mode} with finetune-whole" in chosen.title
    assert f"seed {seed}, the highest of its 2" in chosen.title


def test_missing_weights_are_told_with_the_command_that_makes_them(applied: TrainedRuns, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "applied"
    shutil.copytree(applied.store.folder, folder, ignore=shutil.ignore_patterns("weights"))
    record = applied.record("grey-3ch")
    with pytest.raises(UserError) as error:
        find_run(tmp_path / "results", record.id).find_weights()
    words = shlex.split(str(error.value).splitlines()[1])
    assert words[:5] == ["python", "-m", "benchmark", "run", "--matrix"]
    for word in ("keep_weights=best", "--force", "dataset=my images", "input_mode=grey-3ch", "seed=0"):
        assert word in words


def test_the_winner_is_the_best_of_all_sizes_and_its_size_is_told(tmp_path: Path) -> None:
    training = {"epochs": 3, "head_epochs": 1, "image_size": [96, 64]}
    made = factories.grid(input_modes=["grey-1ch"], policies=["scratch"], training=training)
    store = factories.fill(tmp_path, made, lambda spec: np.arange(128) >= spec.image_size)
    (store.folder / "matrix.yaml").write_text(file.dump(made))
    found = find_winner(tmp_path, made.name)
    assert found.record.spec.image_size == 64
    assert found.title.startswith("the winner of made-up: grey-1ch with scratch (64 px), which has the highest")
    with pytest.raises(UserError, match="--only image_size=64"):
        found.find_weights()


def test_what_cannot_be_found_is_told_with_what_is_there(applied: TrainedRuns) -> None:
    run = applied.record("rgb").id
    wrong = f"{'0' if run[0] != '0' else '1'}{run[1:]}"
    for call, words in (
        (lambda: find_run(applied.results, wrong), run),
        (lambda: find_run(applied.results, "*"), "no such run"),
        (lambda: find_winner(applied.results, "aplied"), "'applied'"),
        (lambda: find_winner(applied.results, "applied", "images"), "'my images'"),
    ):
        with pytest.raises(UserError, match=words):
            call()
    neither = applied.command("predict", "x.png")
    assert neither.returncode == 2
    assert b"--best" in neither.stderr


def test_a_tuning_run_has_no_weights_to_predict_with(tmp_path: Path) -> None:
    tried = factories.training_spec().model_copy(update={"trial": Trial(lr=1e-3)})
    store = Store(tmp_path / "results" / "tuned")
    store.save(factories.tuned(tried))
    with pytest.raises(UserError, match="a tuning run, which keeps no weights"):
        find_run(tmp_path / "results", tried.id)


def test_weights_of_another_network_are_refused(applied: TrainedRuns) -> None:
    with pytest.raises(UserError, match="not the weights of timm/test_efficientnet"):
        open_run(applied.record("rgb"), applied.weights("grey-1ch"))


def test_hidden_files_of_a_folder_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in (".hidden.png", "a/b.png", "Thumbs.db"):
        (tmp_path / name).touch()
    assert list(list_images([tmp_path])) == [tmp_path / "a" / "b.png"]


def test_control_characters_and_bytes_without_meaning_are_escaped_for_a_terminal() -> None:
    assert escape_unprintable("a\x1b[0m\n\udcff") == "a\\x1b[0m\\n\\udcff"
