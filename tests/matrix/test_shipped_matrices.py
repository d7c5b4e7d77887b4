"""The matrices under experiments/: they load, have the runs they promise, and explain each of their keys."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest
import yaml

from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix import file
from benchmark.matrix.augmentations import AUGMENTATIONS
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.settings import TrainingSettings
from benchmark.matrix.tuning import candidates
from benchmark.networks.libraries.find import find_architecture

RUNS = {
    "full": 81,
    "lr": 24,  # those of `seeds`, at each of three rates
    "cpu": 180,
    "smoke": 12,
    "quick": 24,
    "elpv": 40,
    "grey": 160,
    "flowers": 27,
    "size": 117,
    "resolution": 96,
    "fractions": 80,
    "hotdog": 18,
    "flowers102": 90,
    "finetune-vs-features": 12,
    "thumbs": 1,
    "size-similarity": 120,
    "medmnist": 20,
    "stems": 246,
}


def load(name: str) -> Matrix:
    return file.load(file.find(name))


def text_of(name: str) -> str:
    return file.find(name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_a_shipped_matrix_has_its_number_of_runs_and_its_own_name(name: str, runs: int) -> None:
    made = load(name)
    assert made.name == name
    assert len({run.id for row in candidates(made) for run in row}) == runs


@pytest.mark.parametrize("name", file.shipped_matrices())
def test_a_shipped_matrix_states_every_key_and_comments_each(name: str) -> None:
    text = text_of(name)
    data = yaml.safe_load(text)
    assert set(data) == set(Matrix.model_fields)
    assert set(data["training"]) == set(TrainingSettings.model_fields)
    top = [line for line in text.splitlines() if re.match("[a-z_]+:", line)]
    block = text.partition("\ntraining:")[2].partition("\nthreads:")[0]
    keys = top + [line for line in block.splitlines() if re.match("  [a-z_]+:", line)]
    assert len(keys) == len(data) + len(data["training"])
    without = [line for line in keys if not re.search(r"\s# \w", line)]
    assert without == []


def test_full_is_the_article_where_its_text_states_anything() -> None:
    made = load("full")
    assert made.training == TrainingSettings(
        image_size=224,
        batch_size=32,
        epochs=40,
        head_epochs=20,  # on top: no run exceeds the article's 60
        optimizer="adamw",
        lr=1e-3,
        weight_decay=made.training.weight_decay,
        scheduler="cosine",
        augment=("hflip",),
        early_stopping=made.training.early_stopping,
        precision="auto",
    )
    assert made.models == ("timm/resnetrs50.tf_in1k",)
    assert made.weights == "hub"
    assert Counter((run.dataset, run.input_mode, run.policy) for run in expand(made)) == {
        (dataset, mode, policy): 3
        for dataset in ("beans", "rps", "pets")
        for mode in ("rgb", "grey-3ch", "grey-1ch")
        for policy in ("finetune", "finetune-whole", "scratch")
    }


def test_every_arm_of_full_trains_the_whole_network_for_as_long_and_none_exceeds_the_articles_epochs() -> None:
    arms = {run.policy: run.stages for run in expand(load("full"))}
    assert {sum(stage.epochs for stage in stages if stage.trainable == "all") for stages in arms.values()} == {40}
    assert {policy: sum(stage.epochs for stage in stages) for policy, stages in arms.items()} == {
        "finetune": 60,
        "finetune-whole": 40,
        "scratch": 40,
    }


@pytest.mark.parametrize(
    "name", sorted({*file.shipped_matrices()} - {"full", "smoke", "hotdog", "thumbs", "flowers102", "medmnist"})
)
def test_what_a_kept_backbone_reaches_is_in_every_matrix_that_repeats_no_source(name: str) -> None:
    assert "feature-extract" in load(name).policies


def test_smoke_needs_no_network_and_shows_real_and_generated_images() -> None:
    made = load("smoke")
    assert made.weights == "none"
    assert ("elpv", 60) in [(entry.name, entry.limit) for entry in made.datasets]
    assert any(entry.name.endswith("-control") for entry in made.datasets)
    assert {sum(stage.epochs for stage in run.stages) for run in expand(made)} == {3, 1 + 3}


def test_hotdog_is_the_books_experiment() -> None:
    made = load("hotdog")
    training = made.training
    assert (made.models, made.weights) == (("torchvision/resnet18",), "hub")
    assert (training.image_size, training.crop_size, training.batch_size, training.epochs) == ((256,), 224, 128, 5)
    assert [(step.name, dict(step.parameters)) for step in training.augment] == [
        ("crop", {"area": 0.08}),  # torchvision's RandomResizedCrop: 8 % of the area or more
        ("hflip", {"probability": 0.5}),
    ]
    assert str(training.optimizer) == "sgd (momentum 0)"
    assert (training.scheduler.name, training.head_init.name, training.early_stopping) == ("constant", "xavier", None)
    (finetune,), (scratch,) = (
        next(run.stages for run in expand(made) if run.policy == policy) for policy in ("finetune-10x", "scratch")
    )
    # Learning rates and weight decay of the source, whose loss is a sum over 128 images.
    assert [finetune.lr, finetune.lr * finetune.head_lr_factor] == pytest.approx([5e-5 * 128, 5e-4 * 128])
    assert [scratch.lr, scratch.lr * scratch.head_lr_factor] == pytest.approx([5e-4 * 128] * 2)
    assert [stage.weight_decay for stage in (finetune, scratch)] == pytest.approx([1e-3 / 128] * 2)
    assert {(stage.trainable, stage.batch_norm) for stage in (finetune, scratch)} == {("all", "train")}


def test_flowers102_extracts_features_and_then_trains_all_layers() -> None:
    made = load("flowers102")
    assert [entry.name for entry in made.datasets] == ["flowers102"]
    zoo = {"resnet18", "alexnet", "vgg11_bn", "squeezenet1_0", "densenet121", "inception_v3"}
    (side,) = made.training.image_size
    small = {name for name in zoo if find_architecture(f"torchvision/{name}").minimum_side <= side}
    assert {model.removeprefix("torchvision/") for model in made.models} == small == zoo - {"inception_v3"}
    assert side == 64
    assert made.training.optimizer.name == "adam"
    first, second = next(run.stages for run in expand(made) if run.policy == "features-then-all")
    assert (first.trainable, first.lr, first.batch_norm, first.epochs) == ("head", 0.01, "eval", 10)
    assert (second.trainable, second.lr, second.batch_norm, second.epochs) == ("all", 0.001, "eval", 10)
    assert {str(s.scheduler) for s in (first, second)} == {"step (size 10, gamma 0.1)"}
    assert "a tenth is our choice" in text_of("flowers102")


def test_finetune_vs_features_compares_two_policies_on_two_sizes_with_every_augmentation() -> None:
    made = load("finetune-vs-features")
    assert set(made.policies) == {"finetune-whole", "feature-extract"}
    assert [(entry.name, entry.title, entry.limit) for entry in made.datasets] == [
        ("rps", "rps small", 120),
        ("rps", "rps large", None),
    ]
    assert {step.name for step in made.training.augment} == set(AUGMENTATIONS)


def test_thumbs_trains_alexnet_as_the_source_does_and_keeps_the_best_checkpoint() -> None:
    made = load("thumbs")
    training = made.training
    assert (made.models, made.policies, made.keep_weights) == (("torchvision/alexnet",), ("finetune-whole",), "best")
    assert len(CATALOGUE[made.datasets[0].name].classes or ()) == 2
    assert [(step.name, *step.parameters) for step in training.augment] == [
        ("brightness", ("strength", 0.1)),
        ("contrast", ("strength", 0.1)),
        ("saturation", ("strength", 0.1)),
        ("hue", ("turns", 0.1)),
    ]
    assert (training.image_size, training.batch_size, training.epochs, training.lr) == ((224,), 16, 10, (1e-3,))
    assert (str(training.optimizer), str(training.scheduler)) == ("sgd (momentum 0.9)", "constant")


def test_size_similarity_is_two_sizes_of_two_datasets_and_every_policy_of_both_rules() -> None:
    made = load("size-similarity")
    assert [(entry.name, entry.title) for entry in made.datasets] == [
        ("flowers102", "small similar"),
        ("flowers102", "large similar"),
        ("elpv", "small different"),
        ("elpv", "large different"),
    ]
    small, large, *different = made.datasets
    assert small.classes == large.classes
    assert len(set(small.classes or ())) == 20
    assert [entry.limit for entry in (small, large, *different)] == [40, 200, 40, 200]
    assert set(made.policies) == {"finetune-whole", "freeze-early", "feature-extract", "truncate", "scratch"}
    assert made.training.image_size == (96,)


def test_medmnist_is_the_papers_protocol_on_two_of_its_grey_sets() -> None:
    made = load("medmnist")
    training = made.training
    assert (made.models, made.weights, made.policies) == (("medmnist/resnet18",), "none", ("scratch",))
    assert [entry.title for entry in made.datasets] == ["breastmnist", "pneumoniamnist"]
    assert (training.image_size, training.batch_size, training.augment) == ((28,), 128, ())
    assert (training.early_stopping, training.choose_by, training.head_init.name) == (None, "roc_auc", "default")
    ((stage,),) = {run.stages for run in expand(made)}
    assert (stage.epochs, stage.lr, stage.weight_decay, stage.optimizer.name) == (100, 1e-3, 0.0, "adam")
    assert made.model_dump()["training"]["scheduler"] == {"multistep": {"milestones": [0.5, 0.75], "gamma": 0.1}}


def test_stems_has_every_mode_under_a_frozen_backbone_and_the_libraries_rules_at_three_rates_of_the_stem() -> None:
    cells = {(run.dataset, run.input_mode, run.policy) for run in expand(load("stems"))}
    kept = {(dataset, mode) for dataset, mode, policy in cells if policy == "feature-extract"}
    coloured = {"beans", "flowers102"}
    assert kept == {
        (dataset, mode)
        for dataset in (*coloured, "elpv", "neu")
        for mode in INPUT_MODES
        if dataset in coloured or mode != "rgb"
    }
    rules = {f"grey-1ch{suffix}" for suffix in ("", "-mean", "-red", "-luma", "-random-stem")} | {"grey-3ch"}
    rates = {
        run.policy: run.stages[0].stem_lr_factor for run in expand(load("stems")) if run.stages[0].trainable == "all"
    }
    assert sorted(rates.values()) == pytest.approx([1 / 3, 1, 3])
    assert {cell for cell in cells if cell[2] != "feature-extract"} == {
        (dataset, mode, policy) for dataset in ("beans 300", "elpv 300") for mode in rules for policy in rates
    }


MEASURED = ("lr", "cpu", "elpv", "grey", "flowers", "stems", "size", "resolution", "fractions")
"""The matrices that answer the questions that were asked before their first run, `lr` in front."""


def test_the_matrices_of_the_questions_carry_the_hash_of_the_file_that_asks_them() -> None:
    asked = file.experiments_folder() / "studies" / "preregistered.yaml"
    expected = hashlib.sha256(asked.read_bytes()).hexdigest()
    assert {
        name: load(name).preregistered for name in file.shipped_matrices() if load(name).preregistered
    } == dict.fromkeys(MEASURED, expected)


@pytest.mark.parametrize("name", MEASURED)
def test_the_matrices_of_the_questions_differ_in_no_setting_but_what_they_vary(name: str) -> None:
    varied = {"image_size", "lr", "policy_lr"}
    assert load(name).training.model_dump(exclude=varied) == load("cpu").training.model_dump(exclude=varied)


def test_size_and_resolution_train_on_300_images_and_keep_the_backbone_frozen_on_complete_sets() -> None:
    for name in ("size", "resolution"):
        trained = {"beans 300", "elpv 300"}
        for run in expand(load(name)):
            assert run.policy == ("finetune" if run.dataset in trained else "feature-extract")
    enlarged = {run.dataset for run in expand(load("resolution")) if run.image_size == 224}
    assert enlarged == {"beans", "rps", "elpv", "beans 300", "elpv 300"}
