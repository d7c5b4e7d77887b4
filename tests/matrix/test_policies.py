"""Policies as lists of stages: those known by name, and those that a matrix defines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.choices import SCHEDULES
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.policies import POLICIES, Policy, Stage, StageRule, resolve_stages
from benchmark.matrix.settings import EarlyStopping, TrainingSettings

SETTINGS = TrainingSettings(
    epochs=10, head_epochs=3, lr=1e-3, weight_decay=0.02, early_stopping=EarlyStopping(patience=4)
)


def stages(policy: str, settings: TrainingSettings) -> tuple[Stage, ...]:
    return resolve_stages(policy, POLICIES[policy], settings)


def test_finetune_trains_the_head_then_everything_at_a_tenth_with_batch_norms_in_eval_mode_throughout() -> None:
    common = {"optimizer": "adamw", "weight_decay": 0.02, "scheduler": "cosine", "batch_norm": "eval"}
    head = {"trainable": "head", "epochs": 3, "lr": 1e-3, "patience": None}
    everything = {"trainable": "all", "epochs": 10, "lr": 1e-4, "patience": 4}
    assert stages("finetune", SETTINGS) == (
        Stage.model_validate({**common, **head}),
        Stage.model_validate({**common, **everything}),
    )


def test_finetune_whole_and_scratch_train_everything_in_one_stage_and_differ_in_their_weights_alone() -> None:
    (whole,) = stages("finetune-whole", SETTINGS)
    assert (whole.trainable, whole.epochs, whole.lr, whole.batch_norm, whole.patience) == ("all", 10, 1e-3, "train", 4)
    assert stages("scratch", SETTINGS) == (whole,)
    assert POLICIES["finetune-whole"].pretrained
    assert not POLICIES["scratch"].pretrained


def test_without_early_stopping_no_stage_ends_early() -> None:
    settings = TrainingSettings(epochs=10, head_epochs=3, early_stopping=None)
    assert {stage.patience for policy in POLICIES for stage in stages(policy, settings)} == {None}


@given(st.integers(2, 200), st.integers(1, 300))
def test_epochs_are_the_same_for_every_policy_and_head_epochs_come_on_top(epochs: int, head_epochs: int) -> None:
    settings = TrainingSettings(epochs=epochs, head_epochs=head_epochs)
    for name, policy in POLICIES.items():
        on_top = sum(rule.epochs == "head_epochs" for rule in policy.stages)
        assert on_top == (name in ("finetune", "finetune-author"))
        assert sum(stage.epochs for stage in stages(name, settings)) == epochs + on_top * head_epochs


def test_the_other_policies_are_what_the_design_says() -> None:
    (whole,) = stages("finetune-whole", SETTINGS)
    tenth = whole.model_copy(update={"lr": 1e-4})
    (features,) = stages("feature-extract", SETTINGS)
    assert features == whole.model_copy(update={"trainable": "head", "batch_norm": "eval"})
    (norms,) = stages("bn-only", SETTINGS)
    assert norms == whole.model_copy(update={"trainable": "head+norms"})
    head = {"epochs": 3, "patience": None}
    assert stages("finetune-author", SETTINGS) == (norms.model_copy(update=head), tenth)
    assert stages("finetune-bn-switch", SETTINGS) == (
        features.model_copy(update=head),
        tenth.model_copy(update={"epochs": 7}),
    )
    (discriminative,) = stages("discriminative", SETTINGS)
    assert discriminative == whole.model_copy(update={"head_lr_factor": 10.0})
    assert stages("truncate", SETTINGS) == (features,)
    assert {name for name, policy in POLICIES.items() if not policy.choose_start} == {"finetune-bn-switch"}
    assert {name for name, policy in POLICIES.items() if policy.backbone == "first-half"} == {"truncate"}
    (early,) = stages("freeze-early", SETTINGS)
    assert early == whole.model_copy(update={"trainable": "later-half", "batch_norm": "eval-where-frozen"})


def test_a_policy_of_ones_own_is_stages_with_their_own_epochs_shares_and_schedules() -> None:
    step = SCHEDULES.parse({"step": {"size": 2, "gamma": 0.1}})
    mine = Policy(
        pretrained=True,
        summary="three stages",
        stages=(
            StageRule(trainable="head", share=0.25, batch_norm="eval", scheduler=step),
            StageRule(trainable="later-half", epochs=2, lr_factor=0.3),
            StageRule(trainable="all", lr_factor=0.1, weight_decay=0.0),
        ),
    )
    first, second, third = resolve_stages("mine", mine, SETTINGS)
    assert (first.epochs, second.epochs, third.epochs) == (2, 2, 6)
    assert (first.lr, second.lr, third.lr) == (1e-3, 3e-4, 1e-4)
    assert (first.scheduler, second.scheduler, third.weight_decay) == (step, SETTINGS.scheduler, 0.0)
    assert (first.patience, second.patience, third.patience) == (None, None, 4)


OWN = """\
name: mine
models: [timm/test_resnet]
weights: none
datasets: [beans]
input_modes: [rgb]
policies: [thaw]
seeds: [0]
training: {epochs: 10, lr: 1.0e-3}
own_policies:
  thaw:
    pretrained: true
    summary: the head, then everything, slower
    stages:
      - {trainable: head, share: 0.3, batch_norm: eval, optimizer: {sgd: {momentum: 0.9}}}
      - {trainable: all, lr_factor: 0.1, scheduler: {step: {size: 2, gamma: 0.5}}}
"""


def load_own(folder: Path, old: str = "", new: str = "") -> Matrix:
    assert old in OWN
    path = folder / "mine.yaml"
    path.write_text(OWN.replace(old, new, 1) if old else OWN)
    return file.load(path)


def test_stages_in_yaml_become_the_stages_of_the_runs(tmp_path: Path) -> None:
    (run,) = expand(load_own(tmp_path))
    head, everything = run.stages
    assert (head.trainable, head.epochs, head.lr, head.batch_norm) == ("head", 3, 1e-3, "eval")
    assert (str(head.optimizer), str(head.scheduler)) == ("sgd (momentum 0.9)", "cosine")
    assert (everything.trainable, everything.epochs, everything.lr, everything.batch_norm) == ("all", 7, 1e-4, "train")
    assert (everything.optimizer.name, str(everything.scheduler)) == ("adamw", "step (size 2, gamma 0.5)")


MISTAKES = [
    (
        "trainable: head",
        "trainable: heads",
        14,
        "thaw.stages.0.trainable: \"heads\" is not accepted. Did you mean 'head'",
    ),
    ("trainable: head, ", "", 14, "key 'own_policies.thaw.stages.0.trainable' is missing"),
    ("share: 0.3", "share: 1.5", 14, "thaw.stages.0.share: must be below 1 (it is 1.5)"),
    ("share: 0.3", "share: 0.3, epochs: 2", 14, "a stage cannot have both epochs and share"),
    ("share: 0.3", "shares: 0.3", 14, "unknown key 'own_policies.thaw.stages.0.shares'. Did you mean 'share'"),
    ("share: 0.3", "epochs: 0", 14, "0 is not a number of epochs: write a whole number from 1 on, or head_epochs"),
    ("share: 0.3", "epochs: 10", 8, "training.epochs (10) is too few for the stages of policy 'thaw', which need 11"),
    ("share: 0.3, ", "", 10, "only one stage can take the remaining epochs"),
    ("batch_norm: eval", "batch_norm: frozen", 14, '"frozen" is not accepted. Known: eval, eval-where-frozen, train'),
    ("{sgd: {momentum: 0.9}}", "sgd", 14, "sgd needs momentum: write {sgd: {momentum: …}}"),
    ("{sgd: {momentum: 0.9}}", "{sgd: {momentum: 1.9}}", 14, "sgd.momentum: 1.9 is not in 0 … 1, 1 excluded"),
    ("{sgd: {momentum: 0.9}}", "adamx", 14, "thaw.stages.0.optimizer: unknown optimizer 'adamx'. Did you mean 'adam'"),
    ("lr_factor: 0.1", "lr_factor: -1", 15, "thaw.stages.1.lr_factor: must be above 0 (it is -1)"),
    ("lr_factor: 0.1", "stem_lr_factor: 0", 15, "thaw.stages.1.stem_lr_factor: must be above 0 (it is 0)"),
    ("share: 0.3", "stem_lr_factor: 3", 14, "stem_lr_factor is for trainable: all; head leaves the stem frozen"),
    (
        "lr_factor: 0.1",
        "stem_lr_factor: 3, optimizer: adam",
        10,
        "policy 'thaw': adam's adaptive rate scales the weight decay (0.01) that stem_lr_factor divides; use adamw",
    ),
    (
        "lr_factor: 0.1",
        "stem_lr_factor: 1.0e+308, lr_factor: 1.0e+10",
        8,
        "the factor of policy 'thaw', is not a valid learning rate",
    ),
    (
        "    pretrained: true",
        "    pretrained: true\n    backbone: half",
        12,
        '"half" is not accepted. Known: complete, first-half',
    ),
    ("{step: {size: 2, gamma: 0.5}}", "step", 15, "step needs size: write {step: {size: …, gamma: …}}"),
    ("{step: {size: 2, gamma: 0.5}}", "cosin", 15, "unknown schedule 'cosin'. Did you mean 'cosine'"),
    ("{step: {size: 2, gamma: 0.5}}", "{cosine: {gamma: 1.0}}", 15, "cosine: unknown parameter 'gamma'"),
    ("{step: {size: 2, gamma: 0.5}}", "{multistep: {milestones: 0.5, gamma: 0.1}}", 15, "0.5 is not a list of numbers"),
    ("{step: {size: 2, gamma: 0.5}}", "{multistep: {milestones: [50], gamma: 0.1}}", 15, "50 is not in 0 … 1, 0 excl"),
    (
        "{step: {size: 2, gamma: 0.5}}",
        "{multistep: {milestones: [0.7, 0.5], gamma: 0.1}}",
        15,
        "must be in ascending order",
    ),
    ("    pretrained: true\n", "", 10, "key 'own_policies.thaw.pretrained' is missing"),
    ("  thaw:", "  finetune:", 10, "'finetune' is known already; give yours another name"),
    ("policies: [thaw]", "policies: [thow]", 6, "unknown policy 'thow'. Did you mean 'thaw'"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES, ids=[new or old for old, new, _, _ in MISTAKES])
def test_a_mistake_in_a_policy_is_reported_once_with_its_line(
    old: str, new: str, line: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load_own(tmp_path, old, new)
    (line_of_text,) = str(caught.value).splitlines()
    assert line_of_text.startswith(f"{tmp_path / 'mine.yaml'}:{line}: ")
    assert message in line_of_text
