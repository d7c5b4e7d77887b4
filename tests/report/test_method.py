"""What the report says is the article's and what is our choice, and that it marks every departure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.matrix import file
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.settings import TrainingSettings
from benchmark.records.store import Store
from benchmark.report.sections.method import LEFT_OPEN, OURS, PROTOCOL, SAME, STATED, machine, settings
from tests import factories

NAMES = {key: name for key, (name, _) in STATED.items()}
NOT_SETTINGS = {"name", "training", "timeout", "keep_weights", "keep_thumbnails", "equivalence_margin", "preregistered"}
"""Keys of a matrix that decide no result, and the block."""


def shown(overrides: list[str]) -> dict[str, tuple[str, str]]:
    """Return the rows of the table for ``full`` with changed keys: name -> (here, the article)."""
    results = factories.results_of(file.load(file.find("full"), overrides), Store(Path("nowhere")))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in settings(results).splitlines()[2:]]
    return {name: (here, article) for name, here, article in rows}


def test_each_setting_is_either_the_articles_or_left_open_by_it() -> None:
    assert not set(STATED) & set(LEFT_OPEN)
    assert len({*NAMES.values(), *LEFT_OPEN.values(), *PROTOCOL}) == len(STATED) + len(LEFT_OPEN) + len(PROTOCOL)
    settings = {*TrainingSettings.model_fields, *Matrix.model_fields} - NOT_SETTINGS
    assert settings - {"datasets", "own_policies", "exclude", "colormap", "policy_lr"} == {*STATED, *LEFT_OPEN} - {
        "epochs_of_a_run",
        "lr_after_the_head",
    }


def test_the_machines_facts_name_the_preregistration_that_runs_carry_and_nothing_where_none_do() -> None:
    plain = factories.done(factories.spec())
    of_a_study = plain.model_copy(
        update={"environment": plain.environment.model_copy(update={"preregistered": "c0ffee"})}
    )
    fact = "SHA-256 of the file with the questions, asked before the first run"
    assert fact not in machine([plain])
    assert f"- {fact}: c0ffee (1 run), none (1 run)" in machine([plain, of_a_study])


def test_full_has_what_the_article_states_and_the_rest_is_our_choice() -> None:
    rows = shown([])
    stated = {*NAMES.values(), "dataset beans", "dataset rps", "dataset pets"}
    assert {name for name, (_, article) in rows.items() if article == SAME} == stated
    assert {name for name, (_, article) in rows.items() if article == OURS} == {*LEFT_OPEN.values(), *PROTOCOL}
    assert rows.keys() == stated | {*LEFT_OPEN.values(), *PROTOCOL}


HOTTER = (
    "own_policies={hotter: {pretrained: true, summary: a third, stages: "
    "[{trainable: head, epochs: 20}, {trainable: all, lr_factor: 0.3}]}}"
)
DEPARTURES = {
    "models": ["models=[timm/resnet18]"],
    "input_modes": ["input_modes=[grey-3ch, grey-1ch]"],
    "policies": ["policies=[finetune, finetune-whole, feature-extract, scratch]"],
    "image_size": ["training.image_size=96"],
    "batch_size": ["training.batch_size=16"],
    "epochs_of_a_run": ["training.epochs=41"],
    "optimizer": ["training.optimizer=adam"],
    "lr": ["training.policy_lr={scratch: 3.0e-4}"],
    "lr_after_the_head": [HOTTER, "policies=[hotter]"],
    "scheduler": ["training.scheduler=constant"],
    "augment": ["training.augment=[]"],
}


@pytest.mark.parametrize("key", STATED)
def test_a_departure_from_the_article_is_marked_with_both_values(key: str) -> None:
    name, theirs = STATED[key]
    rows, usual = shown(DEPARTURES[key]), shown([])
    assert rows[name][0] != usual[name][0]
    assert rows[name][1] == f"{theirs} (here: {OURS})"


@pytest.mark.parametrize(("entry", "origin"), [("beans", SAME), ("{name: beans, limit: 9}", OURS), ("elpv", OURS)])
def test_a_part_of_the_articles_datasets_is_not_its_dataset(entry: str, origin: str) -> None:
    rows = shown([f"datasets=[{entry}]", "input_modes=[grey-3ch]"])
    assert [article for name, (_, article) in rows.items() if name.startswith("dataset")] == [origin]


def test_the_comments_of_full_say_the_same() -> None:
    lines = file.find("full").read_text(encoding="utf-8").splitlines()
    comments = {m[1]: m[2].lower() for line in lines if (m := re.match(r" *(\w+):.*?\s# (.*)", line))}
    said = {key for key, comment in comments.items() if comment.startswith("article")}
    assert said == {*STATED, "datasets"} - {"epochs_of_a_run", "lr_after_the_head"}
    assert {key for key, text in comments.items() if text.startswith("our choice")} >= {*LEFT_OPEN, "own_policies"}
