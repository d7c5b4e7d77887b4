"""Policies as lists of stages: data, checked to the last value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MisplacedValueError
from benchmark.matrix import EarlyStopping, TrainingSettings
from benchmark.policies import POLICIES, Stage, stages

SETTINGS = TrainingSettings(
    epochs=10, head_epochs=3, lr=1e-3, weight_decay=0.02, early_stopping=EarlyStopping(patience=4)
)


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
    assert [stage.patience for policy in POLICIES for stage in stages(policy, settings)] == [None] * 4


@given(st.integers(2, 200), st.data())
def test_the_stages_of_every_policy_share_out_all_epochs(epochs: int, data: st.DataObject) -> None:
    settings = TrainingSettings(epochs=epochs, head_epochs=data.draw(st.integers(1, epochs - 1)))
    for policy in POLICIES:
        assert sum(stage.epochs for stage in stages(policy, settings)) == epochs


@pytest.mark.parametrize("head_epochs", [10, 11])
def test_finetune_is_refused_when_its_second_stage_would_have_no_epoch(head_epochs: int) -> None:
    settings = TrainingSettings(epochs=10, head_epochs=head_epochs)
    with pytest.raises(
        MisplacedValueError, match=rf"head_epochs \({head_epochs}\) must be below training.epochs \(10\)"
    ):
        stages("finetune", settings)
    assert len(stages("scratch", settings)) == 1


def test_every_policy_is_known_by_its_own_name_and_says_what_it_does() -> None:
    assert all(policy.name == name and policy.summary for name, policy in POLICIES.items())
    assert {"finetune", "finetune-whole", "scratch"} <= set(POLICIES)


def test_policies_cannot_be_changed_in_passing() -> None:
    with pytest.raises(TypeError):
        POLICIES["scratch"] = POLICIES["finetune"]  # type: ignore[index]
