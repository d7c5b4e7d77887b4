"""Matrix files: what is read, what is refused, and the one line that says so."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.data.catalogue import CATALOGUE
from benchmark.errors import UserError
from benchmark.matrix import file as matrix_file
from benchmark.matrix import plain_yaml
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.policies import POLICIES

TEXT = """\
name: x
models: [timm/a]
datasets: [beans]
input_modes: [rgb]
policies: [scratch]
seeds: [0]
training:
  epochs: 30
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(TEXT)
    return path


def refusal(file: Path, text: str | bytes = TEXT, *overrides: str, name: str | None = None) -> str:
    """Return the message with which a file is refused, the file's folder left out."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        matrix_file.load(file, overrides, name)
    return str(caught.value).replace(str(file), "m.yaml")


def test_a_plain_file_is_read(file: Path) -> None:
    made = matrix_file.load(file)
    assert (made.name, made.seeds, made.training.epochs, made.weights) == ("x", (0,), 30, "hub")


MISSPELT = [
    ("seeds:", "sedes:", "m.yaml:6: unknown key 'sedes'. Did you mean 'seeds'?"),
    ("  epochs:", "  epoch:", "m.yaml:8: unknown key 'training.epoch'. Did you mean 'epochs'?"),
    (
        "  epochs: 30",
        "  early_stopping: {patienc: 3}",
        "m.yaml:8: unknown key 'training.early_stopping.patienc'. Did you mean 'patience'?",
    ),
    ("[beans]", "[{name: beans, limt: 3}]", "m.yaml:3: unknown key 'datasets.0.limt'. Did you mean 'limit'?"),
    ("[beans]", "[beens]", "m.yaml:3: datasets.0.name: unknown dataset 'beens'. Did you mean 'beans'?"),
    ("[beans]", "[rps, Beans]", "m.yaml:3: datasets.1.name: unknown dataset 'Beans'. Did you mean 'beans'?"),
    ("[rgb]", "[grey_3ch]", "m.yaml:4: input_modes.0: unknown input mode 'grey_3ch'. Did you mean 'grey-3ch'?"),
    (
        "seeds: [0]",
        "seeds: [0]\nexclude: [{polcy: scratch}]",
        "m.yaml:7: unknown key 'exclude.0.polcy'. Did you mean 'policy'?",
    ),
    (
        "seeds: [0]",
        "seeds: [0]\nexclude: [{policy: scrach}]",
        "m.yaml:7: exclude.0.policy: the matrix has no policy 'scrach'. Did you mean 'scratch'?",
    ),
    ("[scratch]", "[finetun]", "m.yaml:5: policies.0: unknown policy 'finetun'. Did you mean 'finetune'?"),
    ("epochs: 30", "optimizer: adamm", "m.yaml:8: training.optimizer: unknown optimizer 'adamm'. Did you mean 'adam'?"),
    ("seeds: [0]", "seeds: [0]\nlr: 3", "m.yaml:7: unknown key 'lr'. Did you mean 'training.lr'?"),
]


def test_an_item_of_a_list_is_named_with_its_own_line(file: Path) -> None:
    text = TEXT.replace("[scratch]", "\n- scratch\n- finetun\n- scrtch")
    assert refusal(file, text) == (
        "m.yaml:7: policies.1: unknown policy 'finetun'. Did you mean 'finetune'?\n"
        "m.yaml:8: policies.2: unknown policy 'scrtch'. Did you mean 'scratch'?"
    )


def test_every_problem_is_reported_once(file: Path) -> None:
    text = TEXT.replace("[rgb]", "[rbg]").replace("[beans]", "[beens]").replace("30", "0") + "threds: 3\n"
    assert refusal(file, text).splitlines() == [
        "m.yaml:3: datasets.0.name: unknown dataset 'beens'. Did you mean 'beans'?",
        "m.yaml:4: input_modes.0: unknown input mode 'rbg'. Did you mean 'rgb'?",
        "m.yaml:8: training.epochs: must be at least 1 (it is 0).",
        "m.yaml:9: unknown key 'threds'. Did you mean 'threads'?",
    ]


def test_missing_keys_are_named(file: Path) -> None:
    assert refusal(file, "name: x\n").splitlines() == [
        f"m.yaml: key '{key}' is missing." for key in ("models", "datasets", "input_modes", "policies", "seeds")
    ]


VALUES = [
    ("seeds: [0]", "seeds: [true]", "m.yaml:6: seeds.0: must be a whole number (it is true)."),
    ("seeds: [0]", "seeds: [0.0]", "m.yaml:6: seeds.0: must be a whole number (it is 0.0)."),
    ("seeds: [0]", "seeds: ['0']", 'm.yaml:6: seeds.0: must be a whole number (it is "0").'),
    ("seeds: [0]", "seeds: [010]", 'm.yaml:6: seeds.0: must be a whole number (it is "010").'),
    ("seeds: [0]", "seeds: [-1]", "m.yaml:6: seeds.0: must be at least 0 (it is -1)."),
    ("seeds: [0]", "seeds: [4294967296]", "m.yaml:6: seeds.0: must be below 4294967296 (it is 4294967296)."),
    ("seeds: [0]", "seeds: 0", "m.yaml:6: seeds: must be a list, in square brackets (it is 0)."),
    ("seeds: [0]", "seeds:", "m.yaml:6: seeds: must be a list, in square brackets (it is null)."),
    ("seeds: [0]", "seeds: []", "m.yaml:6: seeds: must have at least one item (it is [])."),
    ("seeds: [0]", "seeds: [1, 1]", "m.yaml:6: seeds: 1 is a duplicate"),
    ("epochs: 30", "epochs: 30\nsplit_seed: seeds", "m.yaml:9: split_seed: 'seeds' is neither a whole number from 0"),
    ("epochs: 30", "epochs: 30\nsplit_seed: -1", "m.yaml:9: split_seed: -1 is neither a whole number from 0"),
    ("epochs: 30", "epochs: 30\nsplit_seed: true", "m.yaml:9: split_seed: True is neither a whole number from 0"),
    (
        "epochs: 30",
        "epochs: 30\nevaluation: fold",
        "m.yaml:9: evaluation: \"fold\" is not accepted. Did you mean 'folds'?",
    ),
    ("epochs: 30", "epochs: 3e1", "m.yaml:8: training.epochs: must be a whole number (it is 30.0)."),
    ("epochs: 30", "epochs: 1:30", 'm.yaml:8: training.epochs: must be a whole number (it is "1:30").'),
    ("epochs: 30", "epochs: 2020-13-45", 'm.yaml:8: training.epochs: must be a whole number (it is "2020-13-45").'),
    ("epochs: 30", "lr: .nan", "m.yaml:8: training.lr: must be a finite number (it is NaN)."),
    ("epochs: 30", "lr: 1e999", "m.yaml:8: training.lr: must be a finite number (it is Infinity)."),
    ("epochs: 30", "lr: 0", "m.yaml:8: training.lr: must be above 0 (it is 0)."),
    ("epochs: 30", "image_size: 4", "m.yaml:8: training.image_size: must be at least 8 (it is 4)."),
    ("epochs: 30", "image_size: [32, 4]", "m.yaml:8: training.image_size.1: must be at least 8 (it is 4)."),
    ("epochs: 30", "image_size: []", "m.yaml:8: training.image_size: must have at least one item (it is [])."),
    ("epochs: 30", "lr: yes", 'm.yaml:8: training.lr: must be a number (it is "yes").'),
    ("epochs: 30", "lr: '1e-3'", 'm.yaml:8: training.lr: must be a number (it is "1e-3").'),
    ("  epochs: 30", "  - epochs", 'm.yaml:7: training: must be a block of keys (it is ["epochs"]).'),
    ("name: x", "name: 3", "m.yaml:1: name: must be text (it is 3)."),
    ("[timm/a]", "[resnet]", "m.yaml:2: models.0: 'resnet' is not a model: write timm/NAME"),
    ("[beans]", "beans", 'm.yaml:3: datasets: must be a list, in square brackets (it is "beans").'),
    ("[beans]", "[elpv]", "m.yaml:4: input_modes: no combination is left to run (rgb on elpv"),
    ("[beans]", "\n- beans\n- beans", "m.yaml:5: datasets.1: 'beans' is a duplicate; give one of them a label"),
    ("epochs: 30", "epochs: " + "9" * 9000, 'm.yaml:8: training.epochs: must be a whole number (it is "99999'),
]


@pytest.mark.parametrize(
    ("right", "wrong", "message"), MISSPELT + VALUES, ids=[wrong[:30] for _, wrong, _ in MISSPELT + VALUES]
)
def test_a_mistake_is_reported_in_one_line_that_does_not_presume_python(
    file: Path, right: str, wrong: str, message: str
) -> None:
    found = refusal(file, TEXT.replace(right, wrong, 1))
    assert found == message if message.endswith("?") else found.startswith(message)
    assert "\n" not in found
    assert len(found) < 300
    assert not any(word in found.lower() for word in ("tuple", "dict", "instance", "pydantic", "validation", "none)"))


def test_numbers_are_read_as_people_write_them(file: Path) -> None:
    file.write_text(TEXT.replace("epochs: 30", "{lr: 1e-3, weight_decay: 1E-2}").replace("training:\n  ", "training: "))
    assert matrix_file.load(file).training.lr == (0.001,)
    assert matrix_file.load(file).training.weight_decay == 0.01
    assert matrix_file.load(file, ["training.lr=5e-4"]).training.lr == (0.0005,)


HOSTILE = [
    (TEXT + "\0", "m.yaml:9: not valid YAML: character U+0000 is not allowed."),
    (TEXT + "\tthreads: 1\n", "m.yaml:9: not valid YAML: "),
    (TEXT + "x: [\n", "m.yaml:10: not valid YAML: "),
    (TEXT.encode("utf-16"), "m.yaml: not a text file in UTF-8"),
    (TEXT + "---\nname: y\n", "m.yaml:9: not valid YAML: expected a single document"),
    ("[1, 2]", "m.yaml: a matrix must be a block of keys, but this is a list."),
    ("hello", "m.yaml: a matrix must be a block of keys, but this is a single value."),
    (TEXT + "seeds: [1]\n", "m.yaml:9: key 'seeds' is a duplicate."),
    (TEXT + "  epochs: 31\n", "m.yaml:9: key 'epochs' is a duplicate."),
    (TEXT + "1: 2\n", "m.yaml:9: unknown key '1'."),
    (TEXT + "~: 2\n", "m.yaml:9: unknown key '~'."),
    (TEXT + "? [a, b]\n: 2\n", "m.yaml:9: a key must be a plain word."),
    (TEXT + "  <<: {lr: 1}\n", "m.yaml:9: unknown key 'training.<<'."),
    ("base: &b {epochs: 3}\n" + TEXT.replace("epochs: 30", "<<: *b"), "m.yaml:9: aliases are not allowed"),
    (TEXT + "spare: &t {a: *t}\n", "m.yaml:9: aliases are not allowed"),
    (TEXT + "threads: !!python/object/apply:os.system ['true']\n", "m.yaml:9: tags are not allowed"),
    (TEXT + "threads: !!int 'x'\n", "m.yaml:9: tags are not allowed"),
    (TEXT + "spare: " + "[" * 5000 + "]" * 5000, "m.yaml:9: more than 20 levels of nesting."),
    (
        "a: &a [x]\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 99}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "m.yaml:2: al",
    ),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=[str(number) for number in range(len(HOSTILE))])
def test_a_hostile_file_is_refused_at_once_in_one_line(file: Path, text: str | bytes, message: str) -> None:
    began = time.process_time()
    found = refusal(file, text)
    assert time.process_time() - began < 1
    assert found.startswith(message)
    assert "\n" not in found


@given(st.text())
@settings(max_examples=150, deadline=None)
def test_any_text_is_plain_data_or_refused_with_a_line_of_its_own(text: str) -> None:
    try:
        plain_yaml.read(text)
    except plain_yaml.NotPlainError as error:
        assert 1 <= error.line <= len(text.splitlines()) + 1
        assert "\n" not in str(error)


def test_a_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert matrix_file.load(file).name == "x"


def test_a_folder_and_a_missing_file_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        matrix_file.load(tmp_path)
    with pytest.raises(UserError, match="this matrix file does not exist"):
        matrix_file.find(str(tmp_path / "none.yaml"))


def test_a_shipped_matrix_is_found_by_name_and_a_misspelt_name_gets_the_nearest() -> None:
    assert matrix_file.find("cpu").name == "cpu.yaml"
    with pytest.raises(UserError, match=r"--matrix smke: .* Did you mean 'smoke'\?"):
        matrix_file.find("smke")


SETS = [
    ("training.epochs=3", ("training", "epochs"), 3),
    (" training.epochs = 4 ", ("training", "epochs"), 4),
    ("training.epochs=5 # not six", ("training", "epochs"), 5),
    ("training.early_stopping=null", ("training", "early_stopping"), None),
    ("training.early_stopping.patience=3", ("training", "early_stopping"), {"patience": 3}),
    ("training={epochs: 9}", ("training", "epochs"), 9),
    ("seeds=[3, 4]", ("seeds",), [3, 4]),
    ("datasets=[beans, {name: rps, limit: 20}]", ("datasets", 1, "limit"), 20),
    ("weights=none", ("weights",), "none"),
    ("name=y", ("name",), "y"),
    ("timeout=1e3", ("timeout",), 1000.0),
]


@pytest.mark.parametrize(("text", "at", "value"), SETS, ids=[text for text, _, _ in SETS])
def test_set_replaces_a_value_of_any_shape(file: Path, text: str, at: tuple[str | int, ...], value: object) -> None:
    data = matrix_file.load(file, [text]).model_dump(mode="json")
    for part in at:
        data = data[part]  # type: ignore[index]
    assert data == value


def test_of_two_settings_of_one_key_the_later_wins(file: Path) -> None:
    assert matrix_file.load(file, ["training.epochs=3", "training.epochs=4"]).training.epochs == 4
    assert matrix_file.load(file, ["training={epochs: 3, lr: 1}", "training.epochs=4"]).training.epochs == 4


def test_a_key_of_datasets_is_set_in_every_entry(file: Path) -> None:
    text = TEXT.replace("[beans]", "[folder:a, {name: folder:b, splits: {train: old, test: new}}]")
    file.write_text(text)
    made = matrix_file.load(file, ["datasets.splits.train=tr", "datasets.splits.test=te", "datasets.limit=9"])
    found = [(entry.name, entry.limit, entry.splits.folders) for entry in made.datasets if entry.splits]
    assert found == [(f"folder:{name}", 9, {"train": "tr", "test": "te"}) for name in "ab"]
    file.write_text(matrix_file.dump(made))
    assert matrix_file.load(file) == made


SPLITS = [
    ("{train: a, test: b/../c}", "'b/../c' is not a folder below the dataset's"),
    ("{train: a, test: /b}", "'/b' is not a folder below the dataset's"),
    ("{train: a, test: a}", "'a' is a duplicate"),
    ("{train: a, test: a/b}", "one of the folders is inside another one"),
    ("{train: a, validation: b}", "validation is named, but test is not"),
    ("{test: a}", "key 'datasets.0.splits.train' is missing"),
    ("{train: a, tets: b}", "unknown key 'datasets.0.splits.tets'. Did you mean 'test'?"),
    ("train", "datasets.0.splits: must be a block of keys"),
]


@pytest.mark.parametrize(("splits", "message"), SPLITS, ids=[splits for splits, _ in SPLITS])
def test_splits_that_name_no_folders_of_their_own_are_refused_by_the_option(splits: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        matrix_file.read_source("folder:a", [f"datasets.splits={splits}"])
    assert str(caught.value).startswith(f"--set datasets.splits={splits}: ")
    assert message in str(caught.value)


def test_the_entry_of_one_dataset_is_read_as_in_a_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path / "cells")
    assert matrix_file.read_source("beans", ["datasets.limit=9"]).limit == 9
    assert matrix_file.read_source("folder:.").name == f"folder:{tmp_path / 'cells'}", "its own name is not in it"
    assert matrix_file.read_source("folder:..").name == f"folder:{tmp_path}"
    for name, keys, message in (
        ("../cells", (), r"unknown dataset '\.\./cells'\. Did you mean 'folder:\.\./cells'\?"),
        ("x" * 300, (), "unknown dataset"),
        ("beans", ("seeds=[0]",), r"--set seeds=\[0\]: only keys of a dataset can be set here"),
        ("beans", ("datasets.splits={train: a}",), "--set .*: .*splits: only for a folder"),
        ("beans", ("datasets.limt=3",), "--set datasets.limt=3: unknown key 'datasets.0.limt'. Did you mean 'limit'"),
    ):
        with pytest.raises(UserError, match=message):
            matrix_file.read_source(name, keys)


BAD_SETS = [
    ("training.epochs", "write KEY=VALUE, e.g. --set training.epochs=3."),
    ("=3", "write KEY=VALUE, e.g. --set training.epochs=3."),
    (".=3", "write KEY=VALUE, e.g. --set training.epochs=3."),
    ("training..epochs=3", "write KEY=VALUE, e.g. --set training.epochs=3."),
    ("training.epochs=[", "not valid YAML: "),
    ("training={lr: 1, lr: 2}", "key 'lr' is a duplicate."),
    ("seeds=[&a 1, *a]", "aliases are not allowed"),
    ("seeds=!!python/name:os.system", "tags are not allowed"),
    ("seeds.0=3", "'seeds' is not a block of keys; set its complete value."),
    ("datasets.0.limit=3", "datasets.KEY sets a key of every dataset; to change one, set the complete list."),
    ("training.epochs.x=3", "'epochs' is not a block of keys; set its complete value."),
    ("epochs=3", "unknown key 'epochs'. Did you mean 'training.epochs'?"),
    ("training.epoch=3", "unknown key 'training.epoch'. Did you mean 'epochs'?"),
    ("trainig.epochs=3", "unknown key 'trainig'. Did you mean 'training'?"),
    ("early_stopping.patience=3", "unknown key 'early_stopping'. Did you mean 'training.early_stopping'?"),
    ("training.epochs=", "training.epochs: must be a whole number (it is null)."),
    ("training=null", "training: must be a block of keys (it is null)."),
    ("policies=[scrach]", "policies.0: unknown policy 'scrach'. Did you mean 'scratch'?"),
    ("seeds=[]", "seeds: must have at least one item (it is [])."),
]


@pytest.mark.parametrize(("text", "message"), BAD_SETS, ids=[text for text, _ in BAD_SETS])
def test_a_wrong_setting_is_reported_in_one_line_that_repeats_it(file: Path, text: str, message: str) -> None:
    found = refusal(file, TEXT, text)
    assert found.startswith(f"--set {text}: {message}")
    assert "\n" not in found


def test_two_contradicting_values_are_reported_at_the_one_that_was_set(file: Path) -> None:
    text = TEXT + "  image_size: 64\n  crop_size: 48\n"
    message = "training: crop_size (48) is more than image_size (32)"
    assert refusal(file, text, "training.image_size=32").startswith(f"--set training.image_size=32: {message}")
    assert refusal(file, text.replace("64", "32")).startswith(f"m.yaml:10: {message}")


def test_a_learning_rate_that_a_policy_makes_zero_or_infinite_is_reported(file: Path) -> None:
    message = "training.lr ({}) times {}, the factor of policy '{}', is not a valid learning rate"
    text = TEXT.replace("[scratch]", "[finetune]") + "  lr: 5e-324\n"
    assert refusal(file, text).startswith("m.yaml:9: " + message.format("5e-324", "0.1", "finetune"))
    text = TEXT.replace("[scratch]", "[discriminative]") + "  policy_lr: {discriminative: 1e308}\n"
    assert refusal(file, text).startswith(
        "m.yaml:9: training.policy_lr.discriminative (1e+308) times 10, the factor of policy 'discriminative'"
    )


def test_a_policy_has_its_own_learning_rate_in_all_of_its_stages_and_the_others_keep_the_matrixs(file: Path) -> None:
    file.write_text(
        TEXT.replace("[scratch]", "[finetune, scratch]") + "  policy_lr: {finetune: 3e-3, truncate: 1e-2}\n"
    )
    runs = expand(matrix_file.load(file))
    assert {(run.policy, *(stage.lr for stage in run.stages)) for run in runs} == {
        ("finetune", 3e-3, 3e-4),
        ("scratch", 1e-3),
    }


def test_a_rate_of_an_unknown_policy_or_beside_rates_to_choose_from_is_refused(file: Path) -> None:
    message = "m.yaml:9: training.policy_lr: unknown policy 'finetun'. Did you mean 'finetune'?"
    assert refusal(file, TEXT + "  policy_lr: {finetun: 3e-3}\n").startswith(message)
    text = (
        TEXT.replace("seeds: [0]", "seeds: [0]\ntune_seeds: [9]") + "  lr: [1e-3, 3e-3]\n  policy_lr: {scratch: 3e-3}\n"
    )
    assert "training.policy_lr sets a policy's rate, so there is nothing to choose" in refusal(file, text)


def test_a_rate_given_on_the_command_line_that_no_policy_would_use_is_refused(file: Path) -> None:
    text = TEXT.replace("[scratch]", "[finetune, scratch]") + "  policy_lr: {finetune: 3e-3, scratch: 1e-3}\n"
    message = "--set training.lr=0.1: no policy would use it"
    assert refusal(file, text, "training.lr=0.1").startswith(message)
    file.write_text(text)
    wanted = {"policy": ["scratch"]}
    with pytest.raises(UserError, match="no policy would use it"):
        matrix_file.load_for(file, ["training.lr=0.1"], None, wanted)
    used = matrix_file.load(file, ["training.lr=0.1", "training.policy_lr={finetune: 0.2}"])
    assert {run.policy: run.stages[0].lr for run in expand(used)} == {"finetune": 0.2, "scratch": 0.1}


def test_what_is_no_hash_of_a_preregistration_is_refused_and_a_hash_is_kept(file: Path) -> None:
    digits = "0123456789abcdef" * 4
    assert "preregistered: 'yes' is not a SHA-256" in refusal(file, TEXT + "preregistered: yes\n")
    file.write_text(TEXT + f"preregistered: {digits}\n")
    registered = matrix_file.load(file)
    assert registered.preregistered == digits
    file.write_text(TEXT)
    assert [run.id for run in expand(registered)] == [run.id for run in expand(matrix_file.load(file))]


def test_name_replaces_the_name_even_a_wrong_one(file: Path) -> None:
    file.write_text(TEXT.replace("name: x", "name: 3"))
    assert matrix_file.load(file, name="mine").name == "mine"
    assert refusal(file, TEXT, name="../mine").startswith("--name ../mine: name: must consist of letters")


LABELS = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="|"), min_size=1, max_size=12
) | st.sampled_from(["yes", "no", "010", "1e3", "1e-3", "1:30", "null", "~", "0x1F", "2020-01-01", "true", "- a", "#"])


SCHEDULES = st.sampled_from(
    [
        "cosine",
        "constant",
        {"step": {"size": 3, "gamma": 0.1}},
        {"multistep": {"milestones": [0.5, 0.75], "gamma": 0.1}},
    ]
)
OWN_POLICY = st.fixed_dictionaries(
    {
        "pretrained": st.just(True),
        "summary": st.sampled_from(["one stage", "no: 'a' # b"]),
        "stages": st.lists(
            st.fixed_dictionaries(
                {"trainable": st.sampled_from(["head", "later-half", "all"])},
                optional={
                    "lr_factor": st.floats(0.01, 10),
                    "head_lr_factor": st.floats(0.01, 10),
                    "batch_norm": st.sampled_from(["train", "eval", "eval-where-frozen"]),
                    "optimizer": st.sampled_from(["adam", {"sgd": {"momentum": 0.0}}]),
                    "scheduler": SCHEDULES,
                    "weight_decay": st.floats(0, 1),
                },
            )
            | st.fixed_dictionaries(
                {"trainable": st.just("all"), "optimizer": st.just("adamw"), "stem_lr_factor": st.floats(0.01, 10)}
            ),
            min_size=1,
            max_size=1,
        ),
    },
    optional={
        "backbone": st.sampled_from(["complete", "first-half"]),
        **dict.fromkeys(("choose_start", "recalibrate"), st.booleans()),
    },
)


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    def some(words: object) -> st.SearchStrategy[list[str]]:
        return st.lists(st.sampled_from(sorted(words)), min_size=1, unique=True)  # type: ignore[call-overload]

    entries = [
        {"name": name, "limit": draw(st.none() | st.integers(1, 10**6)), "label": draw(st.none() | LABELS)}
        for name in draw(some(CATALOGUE))
    ]
    epochs = draw(st.integers(2, 500))
    positive, side = st.floats(min_value=1e-300, allow_infinity=False), st.integers(8, 2048)
    data: dict[str, Any] = {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        "models": [f"timm/{model}" for model in draw(some(["a", "b.c", "1", "no"]))],
        "weights": draw(st.sampled_from(["hub", "pypi", "none"])),
        "datasets": entries,
        "input_modes": draw(some(INPUT_MODES)),
        "colormap": draw(st.sampled_from(["viridis", "jet"])),
        "policies": draw(some([*POLICIES, "mine"])),
        "own_policies": {"mine": draw(OWN_POLICY)},
        "seeds": draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True)),
        "split_seed": draw(st.just("seed") | st.integers(0, 2**32 - 1)),
        "evaluation": draw(st.sampled_from(["split", "folds"])),
        "training": {
            "image_size": draw(side | st.lists(side, min_size=1, max_size=3, unique=True)),
            "epochs": epochs,
            "head_epochs": draw(st.integers(1, 500)),
            "lr": draw(st.floats(min_value=1e-290, max_value=1e290)),
            "weight_decay": draw(st.floats(min_value=0, allow_infinity=False)),
            "optimizer": draw(st.sampled_from(["adamw", "adam", {"sgd": {"momentum": 0.5}}])),
            "scheduler": draw(SCHEDULES),
            "head_init": draw(st.sampled_from(["default", "xavier", {"source-rows": {"a": 1, "no": 0}}])),
            "augment": draw(st.sampled_from([[], ["hflip"]])),
            "early_stopping": draw(st.none() | st.fixed_dictionaries({"patience": st.integers(1, 99)})),
            "choose_by": draw(st.sampled_from(["accuracy", "loss", "roc_auc"])),
        },
        "timeout": draw(st.none() | positive),
        "keep_weights": draw(st.sampled_from(["none", "best", "all"])),
        "keep_thumbnails": draw(st.sampled_from(["licensed", "all", "none"])),
        "equivalence_margin": draw(st.floats(0.01, 100)),
    }
    cell = {"policy": data["policies"][-1], "input_mode": data["input_modes"][:2]}
    data["exclude"] = draw(st.sampled_from([[], [cell]]))
    try:
        return Matrix.model_validate(data)
    except (
        ValidationError
    ):  # rgb alone on images without colour, a stem's ablation alone from scratch, two equal labels
        return Matrix.model_validate(
            {**data, "datasets": ["beans"], "weights": "hub", "policies": ["mine"], "exclude": []}
        )


@given(matrices())
@settings(max_examples=25, deadline=None)
def test_the_effective_matrix_reads_back_equal_with_the_same_runs(
    tmp_path_factory: pytest.TempPathFactory, made: Matrix
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(matrix_file.dump(made), encoding="utf-8")
    again = matrix_file.load(path)
    assert again == made
    assert [run.id for run in expand(again)] == [run.id for run in expand(made)]
    assert matrix_file.dump(again) == matrix_file.dump(made)
    in_another_reader = yaml.safe_load(matrix_file.dump(made))["datasets"]
    labels = [None if isinstance(entry, str) else entry.get("label") for entry in in_another_reader]
    assert labels == [entry.label for entry in made.datasets]


def test_the_torch_free_half_loads_no_heavy_library() -> None:
    heavy = ["torch", "torchvision", "timm", "numpy", "pandas", "scipy", "matplotlib", "pyarrow", "PIL", "accelerate"]
    modules = ", ".join(f"benchmark.{m}" for m in ("matrix.matrix", "matrix.file", "records.plan", "seeding"))
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
