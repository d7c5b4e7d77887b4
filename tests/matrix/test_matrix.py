"""Expansion into runs: how many, in which order, and ids that mean the same run for good."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.matrix import file, plain_yaml
from benchmark.matrix.choices import HEADS
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES, needs_pretrained_stem
from benchmark.matrix.matrix import Matrix, list_not_applicable
from benchmark.matrix.policies import POLICIES
from benchmark.matrix.run_spec import CellKey, RunSpec, Trial
from tests.factories import matrix

CPU = plain_yaml.read(file.find("cpu").read_text(encoding="utf-8"))[0]
CPU["training"]["policy_lr"] = {}  # every policy at one rate, as when these ids were made
CPU_GOLDEN = {
    ("beans", "rgb", "finetune", 0): "39c05db20b32ea4e",
    ("beans", "grey-1ch", "scratch", 4): "1e00c9184b05e58e",
    ("rps", "grey-3ch", "finetune-whole", 2): "f9eba1e85e139aa5",
}


def subsets(words: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, unique=True)


def only_run(**changes: Any) -> RunSpec:
    (spec,) = expand(matrix(**changes))
    return spec


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["timm/a", "timm/b", "timm/c.d"]), min_size=1, unique=True),
    subsets(["beans", "rps", "hue-control"]),
    subsets([mode for mode in INPUT_MODES if not needs_pretrained_stem(mode)]),
    subsets(list(POLICIES)),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True),
)
def test_expansion_is_the_product_of_the_lists_in_the_order_of_the_file(
    models: list[str], datasets: list[str], modes: list[str], policies: list[str], seeds: list[int]
) -> None:
    made = matrix(models=models, datasets=datasets, input_modes=modes, policies=policies, seeds=seeds)
    expected = [(m, d, i, p, s) for m in models for d in datasets for i in modes for p in policies for s in seeds]
    runs = expand(made)
    assert [(run.model, run.dataset, run.input_mode, run.policy, run.seed) for run in runs] == expected
    assert list_not_applicable(made) == []
    assert len({run.id for run in runs}) == len(runs)
    assert len({run.cell for run in runs}) * len(seeds) == len(runs)


def test_each_size_has_the_runs_that_a_matrix_of_this_size_alone_has() -> None:
    changes: dict[str, Any] = {"models": ["timm/a", "timm/b"], "datasets": ["beans", "rps"], "seeds": [0, 1]}
    both, large, small = (matrix(**changes, training={"image_size": size}) for size in ([96, 64], 96, [64]))
    runs = expand(both)
    names = [(run.model, run.image_size, run.dataset, run.seed) for run in runs]
    assert names == list(itertools.product(both.models, (96, 64), ("beans", "rps"), (0, 1)))
    assert {run.id for run in runs} == {run.id for made in (large, small) for run in expand(made)}
    assert {run.cell for run in runs} == {CellKey(d, "rgb", "scratch", m, i) for m, i, d, _ in names}
    assert plain_yaml.read(file.dump(small))[0]["training"]["image_size"] == 64


def test_cells_that_have_every_value_of_an_exclusion_are_left_out_and_the_others_keep_their_ids() -> None:
    changes: dict[str, Any] = {
        "input_modes": ["rgb", "grey-1ch"],
        "policies": ["feature-extract", "scratch"],
        "training": {"image_size": [96, 64]},
    }
    everything = expand(matrix(**changes))
    left_out = [{"policy": "scratch", "image_size": 64}, {"input_mode": "rgb", "policy": "feature-extract"}]
    made = matrix(**changes, exclude=left_out)
    kept = [run.cell for run in expand(made)]
    assert [(key.image_size, key.input_mode, key.policy) for key in kept] == [
        (96, "rgb", "scratch"),
        (96, "grey-1ch", "feature-extract"),
        (96, "grey-1ch", "scratch"),
        (64, "grey-1ch", "feature-extract"),
    ]
    assert {run.id for run in expand(made)} == {run.id for run in everything if run.cell in kept}


def test_an_exclusion_with_lists_leaves_out_the_cells_of_each_combination_of_their_values() -> None:
    changes: dict[str, Any] = {
        "input_modes": ["rgb", "grey-3ch", "grey-1ch"],
        "policies": ["feature-extract", "finetune", "scratch"],
    }
    made = matrix(**changes, exclude=[{"policy": ["finetune", "scratch"], "input_mode": ["rgb", "grey-1ch"]}])
    one_by_one = itertools.product(["finetune", "scratch"], ["rgb", "grey-1ch"])
    same = matrix(**changes, exclude=[{"policy": policy, "input_mode": mode} for policy, mode in one_by_one])
    assert expand(made) == expand(same)
    assert len(expand(made)) == 5


def test_a_run_is_titled_with_what_its_matrix_has_several_of() -> None:
    title = "beans rgb scratch seed 0"
    for changes, told in (
        ({}, ""),
        ({"training": {"image_size": [96, 64]}}, " (96 px)"),
        ({"models": ["timm/a", "timm/b"], "training": {"image_size": [96, 64]}}, " (timm/a, 96 px)"),
    ):
        made = matrix(**changes)
        assert made.title(expand(made)[0]) == title + told


def test_twenty_thousand_runs_expand_in_under_three_seconds() -> None:
    began = time.process_time()
    runs = expand(matrix(seeds=list(range(20_000))))
    took = time.process_time() - began
    assert len(runs) == 20_000
    assert took < 3


def test_ids_are_those_of_records_that_were_made_before() -> None:
    """Fails when a change gives runs other ids: every record made before would be orphaned."""
    runs = {(run.dataset, run.input_mode, run.policy, run.seed): run.id for run in expand(Matrix.model_validate(CPU))}
    assert {key: runs[key] for key in CPU_GOLDEN} == CPU_GOLDEN


RECALIBRATED = {"pretrained": True, "recalibrate": True, "summary": "all", "stages": [{"trainable": "all"}]}
DECISIVE: list[dict[str, Any]] = [
    {"models": ["timm/test_efficientnet"]},
    {"datasets": ["rps"]},
    {"datasets": [{"name": "beans", "limit": 30}]},
    {"datasets": [{"name": "beans", "classes": ["healthy", "bean_rust"]}]},
    {"datasets": [{"name": "beans", "classes": ["bean_rust", "healthy"]}]},
    {"input_modes": ["grey-3ch"]},
    {"input_modes": ["grey-1ch"]},
    {"policies": ["finetune"]},
    {"policies": ["finetune-whole"]},
    {"policies": ["finetune-whole"], "weights": "hub"},
    {"policies": ["finetune-whole"], "weights": "pypi"},
    {"seeds": [1]},
    {"split_seed": 1},
    {"evaluation": "folds"},
    {"threads": 2},
    {"training": {"image_size": 96}},
    {"training": {"batch_size": 16}},
    {"training": {"epochs": 39}},
    {"training": {"lr": 2e-3}},
    {"training": {"weight_decay": 0.0}},
    {"training": {"augment": []}},
    {"training": {"early_stopping": None}},
    {"training": {"precision": "fp32"}},
    {"training": {"crop_size": 200}},
    {"training": {"head_init": "xavier"}},
    {"training": {"choose_by": "loss"}},
    {"training": {"choose_by": "roc_auc"}},
    {"training": {"head_init": {"source-rows": {"healthy": 3}}}},
    {"training": {"optimizer": "adam"}},
    {"training": {"optimizer": {"sgd": {"momentum": 0.9}}}},
    {"training": {"scheduler": "constant"}},
    {"training": {"scheduler": {"step": {"size": 10, "gamma": 0.1}}}},
    {"training": {"scheduler": {"multistep": {"milestones": [0.5, 0.75], "gamma": 0.1}}}},
    {"training": {"scheduler": {"multistep": {"milestones": [0.5], "gamma": 0.1}}}},
    {"policies": ["finetune-whole"], "weights": "file:/a#sha256=" + "0" * 64},
    {"policies": ["finetune-whole"], "weights": "file:/a#sha256=" + "1" * 64},
    {"policies": ["discriminative"]},
    {"policies": ["freeze-early"]},
    {"policies": ["truncate"]},
    {"input_modes": ["colormap"]},
    {"input_modes": ["colormap"], "colormap": "jet"},
    {"input_modes": ["views"]},
    {"policies": ["mine"], "own_policies": {"mine": RECALIBRATED}, "weights": "hub"},
    {"policies": ["mine"], "own_policies": {"mine": {**RECALIBRATED, "recalibrate": False}}, "weights": "hub"},
    {"policies": ["finetune"], "training": {"head_epochs": 19}},
]


def test_whatever_decides_the_result_gives_another_id() -> None:
    ids = [only_run().id, *(only_run(**changes).id for changes in DECISIVE)]
    assert len(set(ids)) == len(ids)


def test_every_field_of_a_spec_but_the_label_enters_its_id() -> None:
    spec = only_run()
    other: dict[str, Any] = {
        "source": spec.source.model_copy(update={"limit": 5}),
        "input_mode": "grey-3ch",
        "policy": "finetune",
        "seed": 1,
        "model": "timm/other",
        "weights": "hub",
        "split_seed": 1,
        "evaluation": "folds",
        "on_bad_image": "drop",
        "on_leak": "keep",
        "stages": spec.stages * 2,
        "image_size": 8,
        "batch_size": 1,
        "augment": (),
        "precision": "fp16",
        "threads": 2,
        "crop_size": 8,
        "head_init": HEADS.parse("xavier"),
        "choose_by": "loss",
        "backbone": "first-half",
        "choose_start": False,
        "recalibrate": True,
        "colormap": "jet",
        "trial": Trial(lr=1e-3),
    }
    assert {*other, "dataset"} == set(RunSpec.model_fields)
    ids = {spec.model_copy(update={key: value}).id for key, value in other.items()} | {spec.id}
    assert len(ids) == len(other) + 1


def test_a_factor_of_a_stage_enters_the_id_unless_it_is_one() -> None:
    spec = only_run()

    def with_factors(**factors: float) -> str:
        return spec.model_copy(update={"stages": (spec.stages[0].model_copy(update=factors),)}).id

    ids = {with_factors(head_lr_factor=3.0), with_factors(stem_lr_factor=3.0), with_factors(stem_lr_factor=9.0)}
    assert len({spec.id, *ids}) == 4
    assert with_factors(head_lr_factor=1.0, stem_lr_factor=1.0) == spec.id


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_copy_of_a_spec_does_not_keep_the_id_that_was_read_before(deep: bool) -> None:
    spec = only_run()
    assert spec.id == spec.model_copy(deep=deep).id
    changed = spec.model_copy(update={"seed": 1}, deep=deep)
    assert changed.id == RunSpec.model_validate(changed.model_dump()).id != spec.id
    assert "id" not in changed.model_dump()
    assert changed == RunSpec.model_validate(changed.model_dump())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"timeout": 5.0},
        {"keep_weights": "all"},
        {"keep_thumbnails": "none"},
        {"equivalence_margin": 2.5},
        {"datasets": [{"name": "beans", "label": "Leaves"}]},
        {"datasets": [{"name": "beans", "limit": None, "classes": None}]},
        {"weights": "hub"},
        {"training": {"head_epochs": 7}},
        {"training": {"lr": 0.001, "epochs": 40, "choose_by": "accuracy"}},
        {"seeds": [0, 1]},
        {"policies": ["scratch", "finetune"]},
    ],
    ids=str,
)
def test_what_does_not_decide_the_result_leaves_the_id(changes: dict[str, Any]) -> None:
    assert expand(matrix(**changes))[0].id == only_run().id


@settings(max_examples=30, deadline=None)
@given(st.permutations(list(CPU)), st.permutations(list(CPU["training"])))
def test_the_order_of_keys_changes_nothing(keys: list[str], training: list[str]) -> None:
    shuffled = {key: CPU[key] for key in keys} | {"training": {key: CPU["training"][key] for key in training}}
    assert expand(Matrix.model_validate(shuffled)) == expand(Matrix.model_validate(CPU))


def test_a_spec_reads_back_from_json_with_the_same_id() -> None:
    for run in expand(Matrix.model_validate(CPU)):
        again = RunSpec.model_validate_json(run.model_dump_json())
        assert again == run
        assert again.id == run.id


def test_a_run_from_random_weights_is_the_same_run_whatever_weights_the_matrix_names() -> None:
    policies = ["finetune-whole", "scratch"]
    hub, pypi = (expand(matrix(weights=weights, policies=policies)) for weights in ("hub", "pypi"))
    assert [run.weights for run in hub] == ["hub", "none"]
    assert hub[0].id != pypi[0].id
    assert hub[1].id == pypi[1].id


def test_rgb_on_a_dataset_without_colour_is_left_out_of_a_mixed_matrix_and_named() -> None:
    made = matrix(datasets=["beans", "elpv"], input_modes=["rgb", "grey-1ch"])
    runs = [(run.dataset, run.input_mode) for run in expand(made)]
    assert runs == [("beans", "rgb"), ("beans", "grey-1ch"), ("elpv", "grey-1ch")]
    (left_out,) = list_not_applicable(made)
    assert (left_out.dataset, left_out.input_mode) == ("elpv", "rgb")
    assert "no colour" in left_out.reason


def test_an_ablation_of_the_pretrained_stem_is_left_out_of_scratch_and_named() -> None:
    made = matrix(weights="pypi", input_modes=["grey-1ch", "grey-1ch-mean"], policies=["finetune-whole", "scratch"])
    runs = [(run.input_mode, run.policy) for run in expand(made)]
    assert runs == [("grey-1ch", "finetune-whole"), ("grey-1ch", "scratch"), ("grey-1ch-mean", "finetune-whole")]
    (left_out,) = list_not_applicable(made)
    assert str(left_out).startswith("grey-1ch-mean on beans with scratch: random weights")


def test_a_colour_map_is_part_of_the_runs_that_show_it_alone() -> None:
    modes = ["colormap", "views", "grey-3ch"]
    usual, other = (
        {run.input_mode: run.id for run in expand(matrix(input_modes=modes, colormap=name))}
        for name in ("viridis", "jet")
    )
    assert {mode for mode in modes if usual[mode] != other[mode]} == {"colormap"}


def test_weights_of_one_channel_are_for_grey_1ch_alone_and_for_policies_without_them() -> None:
    weights = f"file:/a.pth#sha256={'0' * 64}"
    given = {"input_modes": list(INPUT_MODES), "policies": ["finetune-whole", "scratch"]}
    made, coloured = (matrix(weights=weights + mark, **given) for mark in (",channels=1", ""))
    runs = {(run.input_mode, run.policy): run for run in expand(made)}
    assert {mode for mode, policy in runs if policy == "finetune-whole"} == {"grey-1ch"}
    assert "rgb" in {mode for mode, policy in runs if policy == "scratch"}
    reasons = {pair.input_mode: pair.reason for pair in list_not_applicable(made) if "finetune-whole" in pair.policies}
    assert reasons.keys() == INPUT_MODES.keys() - {"grey-1ch"}
    assert set(reasons.values()) == {"the pretrained weights take one channel: grey-1ch uses them as they are"}
    assert {run.id for run in runs.values()} <= {run.id for run in expand(coloured)}, "the content says it already"
    portable = runs["grey-1ch", "finetune-whole"].portable
    assert portable.weights == f"file:a.pth#sha256={'0' * 64},channels=1"
    with pytest.raises(ValidationError, match="rgb on beans: the pretrained weights take one channel"):
        matrix(weights=made.weights, input_modes=["rgb"], policies=["finetune-whole"])


def test_one_dataset_may_be_listed_twice_under_labels_of_its_own() -> None:
    made = matrix(datasets=["beans", {"name": "beans", "limit": 90, "label": "beans-90"}])
    assert [(run.dataset, run.source.limit) for run in expand(made)] == [("beans", None), ("beans-90", 90)]


def test_a_split_seed_is_one_for_all_runs_or_each_runs_own() -> None:
    seeds = [0, 4]
    assert [run.split_seed for run in expand(matrix(seeds=seeds, split_seed=3))] == [3, 3]
    own = expand(matrix(seeds=seeds, split_seed="seed"))
    assert [run.split_seed for run in own] == [0, 4]
    assert own[0].id == expand(matrix(seeds=seeds, split_seed=0))[0].id, "it draws the same images"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"datasets": [{"name": "beans", "label": "rps"}]}, "name of another dataset"),
    ({"datasets": [{"name": "beans", "label": "a|b"}]}, "does not fit into a table"),
    ({"datasets": [{"name": "beans", "label": "a\nb"}]}, "does not fit into a table"),
    ({"datasets": [{"name": "beans", "label": " "}]}, "does not fit into a table"),
    ({"datasets": [{"name": "beans", "classes": ["healthy"]}]}, "at least two"),
    ({"datasets": [{"name": "beans", "classes": ["healthy", "healthy"]}]}, "named twice"),
    ({"datasets": [{"name": "beans", "classes": ["healthy", "bean_rst"]}]}, "Did you mean 'bean_rust'"),
    ({"datasets": [{"name": "beans", "limit": 0}]}, "datasets.0.limit"),
    ({"models": ["timm/a", "timm/a"]}, "'timm/a' is a duplicate"),
    ({"input_modes": ["rgb", "rgb"]}, "'rgb' is a duplicate"),
    ({"policies": ["scratch", "scratch"]}, "'scratch' is a duplicate"),
    ({"training": {"augment": ["hflip", "hflip"]}}, "'hflip' is a duplicate"),
    ({"training": {"image_size": [96, 96]}}, "96 is a duplicate"),
    ({"training": {"image_size": [96, 32], "crop_size": 64}}, "crop_size (64) is more than image_size (32)"),
    ({"training": {"lr": True}}, "training.lr"),
    ({"training": {"weight_decay": -0.1}}, "training.weight_decay"),
    ({"training": {"early_stopping": {"patience": 0}}}, "training.early_stopping.patience"),
    (
        {"models": ["medmnist/resnet18"], "policies": ["scratch", "finetune"], "weights": "hub"},
        "policy 'finetune' needs pretrained weights, but none are published for medmnist/resnet18. Use scratch",
    ),
    ({"exclude": [{}]}, "an item needs one of the keys dataset, input_mode, policy, model, image_size"),
    ({"exclude": [{"policy": "scratch"}]}, "exclude: no combination is left to run"),
    ({"exclude": [{"image_size": 96}]}, "exclude.0.image_size: the matrix has no image_size 96. Known: 224."),
    ({"exclude": [{"policy": ["scratch", "finetune"]}]}, "exclude.0.policy: the matrix has no policy 'finetune'"),
    ({"colormap": "virdis"}, "Matplotlib has no colour map 'virdis'. Did you mean 'viridis'?"),
    ({"colormap": "gray"}, "the map 'gray' is grey: the input mode would be grey-3ch under another name"),
    ({"name": "name\n"}, "name"),
    ({"timeout": 0}, "timeout"),
    ({"threads": 0}, "threads"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_a_matrix_without_a_clear_meaning_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        matrix(**changes)
    assert message in str(caught.value)


def test_a_matrix_and_its_runs_cannot_be_changed_in_passing() -> None:
    spec = only_run()
    with pytest.raises(ValidationError):
        spec.seed = 7  # type: ignore[misc]
