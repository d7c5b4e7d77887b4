"""A list of learning rates: the runs that choose among them, and the runs that wait for the choice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.tuning import candidates, dependencies, every_run, group, tuning_runs
from tests.factories import grid, matrix

RATES = [3e-4, 1e-3, 3e-3]


def tuned(**changes: object) -> Matrix:
    return matrix(**{"training": {"lr": RATES}, "tune_seeds": [100, 101], **changes})


def test_a_matrix_with_one_rate_has_no_tuning_runs_and_the_runs_it_always_had() -> None:
    given = grid()
    assert tuning_runs(given) == []
    assert candidates(given) == [(spec,) for spec in expand(given)]
    assert every_run(given) == expand(given)
    listed = grid(training={**given.training.model_dump(), "lr": [1e-3]})
    assert listed == given


def test_a_reported_run_at_each_rate_is_the_run_of_a_matrix_with_that_rate_alone() -> None:
    rows = candidates(grid(tune_seeds=[100], training={"lr": RATES}))
    for position, lr in enumerate(RATES):
        assert [row[position].id for row in rows] == [spec.id for spec in expand(grid(training={"lr": lr}))]


def test_every_rate_is_tried_in_every_cell_with_every_tuning_seed_and_no_other() -> None:
    made = grid(tune_seeds=[100, 101], training={"lr": RATES})
    runs = tuning_runs(made)
    cells = {spec.cell for row in candidates(made) for spec in row}
    assert len(cells) == 9
    tried = Counter((spec.cell, spec.trial.lr, spec.seed) for spec in runs if spec.trial)
    assert tried == Counter((cell, lr, seed) for cell in cells for lr in RATES for seed in (100, 101))
    assert {spec.stages[-1].lr for spec in runs if spec.policy == "scratch"} == set(RATES)


def test_a_tuning_run_is_never_the_reported_run_of_the_same_seed_and_rate() -> None:
    made = tuned()
    reported = expand(matrix(seeds=[100, 101], training={"lr": RATES[0]}))
    assert not {spec.id for spec in tuning_runs(made)} & {spec.id for spec in reported}
    assert len({spec.id for spec in every_run(made)}) == len(every_run(made)) == 6 + 3


def test_one_rate_is_chosen_per_dataset_policy_and_model_for_all_input_modes_together() -> None:
    made = grid(datasets=["beans", "rps"], tune_seeds=[100], training={"lr": RATES})
    groups = {group(spec) for spec in tuning_runs(made)}
    assert {(each.dataset, each.policy) for each in groups} == {
        (dataset, policy) for dataset in ("beans", "rps") for policy in made.policies
    }
    assert len(groups) == 6
    assert groups == {group(row[0]) for row in candidates(made)}


def test_each_image_size_has_a_choice_of_its_own_and_cells_that_are_left_out_are_not_tuned() -> None:
    sizes = {"lr": RATES, "image_size": [64, 96]}
    made = tuned(policies=["scratch", "finetune"], training=sizes, exclude=[{"policy": "finetune", "image_size": 96}])
    groups = Counter((each.policy, each.image_size) for each in map(group, tuning_runs(made)))
    assert groups == dict.fromkeys([("scratch", 64), ("scratch", 96), ("finetune", 64)], len(RATES) * 2)
    assert {group(row[0])[1::2] for row in candidates(made)} == set(groups)


def test_under_cross_validation_each_fold_that_is_tested_has_a_choice_of_its_own() -> None:
    changes = {"datasets": ["elpv", "beans"], "input_modes": ["grey-1ch"], "evaluation": "folds"}
    made = tuned(**changes, seeds=[0, 3, 5])
    groups = Counter(group(spec)[::4] for spec in tuning_runs(made))
    assert groups == {("elpv", 0): 6, ("elpv", 3): 6, ("beans", None): 6}, "beans has a test split of its own"
    rows = {row[0].seed: group(row[0]).fold for row in candidates(made) if row[0].dataset == "elpv"}
    assert rows == {0: 0, 3: 3, 5: 0}
    assert dependencies(made) < dependencies(tuned(**changes, seeds=[0, 3, 5, 1]))


def test_runs_added_to_a_tuned_matrix_are_more_runs_but_what_may_change_a_choice_is_another_matrix() -> None:
    before = dependencies(tuned())
    for more in (tuned(seeds=[0, 1]), tuned(datasets=["beans", "rps"]), tuned(policies=["scratch", "finetune"])):
        assert before < dependencies(more)
    for other in (
        tuned(tune_seeds=[100, 101, 102]),
        tuned(input_modes=["rgb", "grey-1ch"]),
        tuned(training={"lr": RATES[:2]}),
        matrix(training={"lr": RATES[0]}),
    ):
        assert before - dependencies(other)
    single = matrix(training={"lr": RATES[0]})
    assert dependencies(single) == {frozenset({spec.id}) for spec in expand(single)}


TEXT = """name: m
models: [timm/test_resnet]
weights: none
datasets: [beans]
input_modes: [rgb]
policies: [scratch]
seeds: [0, 1]
tune_seeds: [100]
training:
  lr: [1e-3, 1e-2]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tune_seeds: [100]\n",
            "",
            "m.yaml:9: training.lr: several rates are candidates to choose from: give",
        ),
        ("[1e-3, 1e-2]", "1e-3", "m.yaml:8: tune_seeds: there is nothing to choose, since training.lr is one rate."),
        ("[1e-3, 1e-2]", "[1e-3]", "m.yaml:8: tune_seeds: there is nothing to choose, since training.lr is one rate."),
        ("[100]", "[100, 1]", "m.yaml:8: tune_seeds: 1 is also in seeds"),
        ("[100]", "[100, 100]", "m.yaml:8: tune_seeds: 100 is a duplicate"),
        ("[1e-3, 1e-2]", "[1e-3, 0.001]", "m.yaml:10: training.lr: 0.001 is a duplicate"),
        ("[1e-3, 1e-2]", "[1e-3, 0]", "m.yaml:10: training.lr.1: must be above 0 (it is 0)."),
        ("[1e-3, 1e-2]", "[]", "m.yaml:10: training.lr: must have at least one item (it is [])."),
    ],
)
def test_rates_that_cannot_be_chosen_from_are_refused_where_they_stand(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError) as error:
        file.load(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_matrix_with_rates_to_choose_from_reads_back_equal(tmp_path: Path) -> None:
    made = tuned()
    path = tmp_path / "m.yaml"
    path.write_text(file.dump(made))
    assert file.load(path) == made
