"""Policies as lists of stages: data, checked to the last value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MisplacedValueError
from benchmark.matrix.choices import SCHEDULES
from benchmark.matrix.policies import POLICIES, Policy, Stage, StageRule, resolve_stages
from benchmark.matrix.settings import EarlyStopping, TrainingSettings

SETTINGS = TrainingSettings(
    epochs=10, head_epochs=3, lr=1e-3, weight_decay=0.02, early_stopping=EarlyStopping(patience=4)
)


def stages(policy: str, settings: TrainingSettings) -> tuple[Stage, ...]:
    return resolve_stages(policy, POLICIES[policy], settings)


def test_finetune_trains_the_head_with_a_frozen_backbone_then_everything_at_a_tenth() -> None:
    common = {"optimizer": "adamw", "weight_decay": 0.02, "scheduler": "cosine"}
    head = {"trainable": "head", "epochs": 3, "lr": 1e-3, "batch_norm": "eval", "patience": None}
    everything = {"trainable": "all", "epochs": 7, "lr": 1e-4, "batch_norm": "train", "patience": 4}
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
    assert [stage.patience for policy in POLICIES for stage in stages(policy, settings)] == [None] * 9


@given(st.integers(2, 200), st.data())
def test_the_stages_of_every_policy_share_out_all_epochs(epochs: int, data: st.DataObject) -> None:
    settings = TrainingSettings(epochs=epochs, head_epochs=data.draw(st.integers(1, epochs - 1)))
    for policy in POLICIES:
        assert sum(stage.epochs for stage in stages(policy, settings)) == epochs


def test_the_other_policies_are_what_the_design_says() -> None:
    bn_train, second = stages("finetune-bn-train", SETTINGS)
    frozen, same_second = stages("finetune", SETTINGS)
    assert bn_train == frozen.model_copy(update={"batch_norm": "train"})
    assert second == same_second
    (features,) = stages("feature-extract", SETTINGS)
    assert (features.trainable, features.epochs, features.batch_norm, features.patience) == ("head", 10, "eval", 4)
    (discriminative,) = stages("discriminative", SETTINGS)
    (whole,) = stages("finetune-whole", SETTINGS)
    assert discriminative == whole.model_copy(update={"head_lr_factor": 10.0})
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


@pytest.mark.parametrize("head_epochs", [10, 11])
def test_finetune_is_refused_when_its_second_stage_would_have_no_epoch(head_epochs: int) -> None:
    settings = TrainingSettings(epochs=10, head_epochs=head_epochs)
    with pytest.raises(
        MisplacedValueError, match=rf"head_epochs \({head_epochs}\) must be below training.epochs \(10\)"
    ):
        stages("finetune", settings)
    assert len(stages("scratch", settings)) == 1


def test_policies_cannot_be_changed_in_passing() -> None:
    with pytest.raises(TypeError):
        POLICIES["scratch"] = POLICIES["finetune"]  # type: ignore[index]
