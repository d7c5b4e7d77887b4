"""The weights that a run chooses, its starting point among them, and when it stops; seen with evaluations as given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from benchmark.networks.heads import head_parameters
from benchmark.records.record import EpochRecord
from benchmark.training.progress import choice_key
from benchmark.training.stages import TrainedNetwork, train
from tests import factories
from tests.training.training_runs import run

Answer = tuple[int, float]
"""Validation images that are right, and by how much the chosen logit is ahead: wrong ones cost more loss the more."""


def answering(
    answers: Sequence[Answer],
    images: int = 100,
    patience: str = "null",
    choose_by: str = "accuracy",
    choose_start: bool = True,
) -> TrainedNetwork:
    """Train in one stage; validation is answered as given, at the starting point and after each epoch."""
    early_stopping = patience if patience == "null" else f"{{patience: {patience}}}"
    spec = factories.training_spec(epochs=len(answers) - 1, early_stopping=early_stopping, choose_by=choose_by)
    spec = spec.model_copy(update={"choose_start": choose_start})
    built, shown = factories.network_and_images(spec, factories.dataset(train=16, held_out=images))
    left, pending = list(answers), list[Tensor]()

    def answer(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if module.training:
            return output
        if not pending:  # an evaluation begins, at the end of the test images
            right, ahead = left.pop(0) if left else answers[-1]
            labels = shown.validation.labels.clone()
            labels[right:] ^= 1
            pending.extend((ahead * nn.functional.one_hot(labels).float()).split(64))
        return pending.pop(0)

    built.network.register_forward_hook(answer)
    return train(built.network, spec, shown, "fp32")


@pytest.mark.parametrize(
    ("answers", "images", "choose_by", "chosen"),
    [
        pytest.param([(90, 1), (80, 1), (85, 1)], 100, "accuracy", 0, id="the starting point, if nothing beats it"),
        pytest.param([(50, 1), (85, 1), (80, 1)], 100, "accuracy", 1, id="the highest accuracy"),
        pytest.param([(50, 1), (80, 6), (80, 1)], 100, "accuracy", 2, id="at a tie the lower loss"),
        pytest.param([(80, 1), (80, 1), (80, 1)], 100, "accuracy", 0, id="at a tie of both the earlier"),
        pytest.param([(50, 1), (80, 6), (75, 1)], 100, "accuracy", 1, id="on 100 images the accuracy first"),
        pytest.param([(50, 1), (80, 6), (75, 1)], 99, "accuracy", 2, id="on 99 images the loss first"),
        pytest.param([(50, 1), (80, 6), (75, 1)], 100, "loss", 2, id="the lower loss where it is asked for"),
        pytest.param([(50, 1), (80, 6), (75, 1)], 99, "roc_auc", 1, id="the area on 99 images too"),
    ],
)
def test_the_chosen_epoch_is_the_best_of_the_epochs_and_their_starting_point(
    answers: list[Answer], images: int, choose_by: str, chosen: int
) -> None:
    trained = answering(answers, images, choose_by=choose_by)
    history = trained.run_state.history
    assert [record.val_accuracy for record in history] == [right / images for right, _ in answers]
    assert trained.best.epoch == chosen


def test_a_starting_point_that_a_policy_leaves_out_is_not_chosen_nor_counted_by_patience() -> None:
    trained = answering([(90, 1), (80, 1), (70, 1), (60, 1), (95, 1)], patience="2", choose_start=False)
    assert trained.best.epoch == 1
    assert [record.epoch for record in trained.run_state.history] == [0, 1, 2, 3]


def test_the_keys_of_the_choice_are_what_its_words_say() -> None:
    scores = {"val_loss": 0.5, "val_accuracy": 0.75, "val_roc_auc": 0.875}
    record = EpochRecord(stage=1, epoch=1, lr=1e-3, train_loss=0.5, train_seconds=1.0, **scores)
    assert choice_key(record, "accuracy", 100) == (0.75, -0.5)
    assert choice_key(record, "accuracy", 99) == choice_key(record, "loss", 100) == (-0.5, 0.75)
    assert choice_key(record, "roc_auc", 99) == (0.875, -0.5)
    of_one_class = record.model_copy(update={"val_roc_auc": None})
    assert choice_key(of_one_class, "roc_auc", 100) == (0.0, -0.5)


@pytest.mark.parametrize(
    ("right", "epochs"),
    [
        pytest.param([90, 80, 85, 89, 95], 3, id="from the starting point on"),
        pytest.param([50, 60, 59, 59, 61, 61, 60, 60, 99], 7, id="from the last gain on"),
    ],
)
def test_patience_counts_epochs_without_a_gain(right: list[int], epochs: int) -> None:
    trained = answering([(number, 1) for number in right], patience="3")
    assert [record.epoch for record in trained.run_state.history] == list(range(epochs + 1))
    assert trained.run_state.stages[0].stopped_early


def test_a_gain_of_half_a_percent_is_a_gain_for_early_stopping() -> None:
    right = [100, 101, 101, 102, 102, 102, 199]  # of 200; with the library's threshold, 1 %, it ends after the second
    trained = answering([(number, 1) for number in right], images=200, patience="2")
    assert [record.val_accuracy for record in trained.run_state.history] == [number / 200 for number in right[:6]]
    assert trained.run_state.stages[0].stopped_early


def test_patience_counts_gains_of_what_chooses() -> None:
    trained = answering([(80, 6), (75, 3), (70, 1), (70, 1)], patience="1", choose_by="loss")
    assert [record.epoch for record in trained.run_state.history] == [0, 1, 2, 3]
    assert trained.best.epoch == 2


@pytest.mark.parametrize("policy", ["finetune", "finetune-whole", "feature-extract"])
def test_a_history_begins_with_the_network_before_any_training(policy: str) -> None:
    spec = factories.training_spec(policy=policy, epochs=2, head_epochs=2)
    start, *epochs = run(spec)[0].run_state.history
    first, *others = spec.stages
    assert (start.stage, start.epoch, start.lr, start.train_loss, start.train_seconds) == (1, 0, None, None, 0)
    stages = [1] * first.epochs + [2] * sum(stage.epochs for stage in others)
    assert [(record.stage, record.epoch) for record in epochs] == list(zip(stages, range(1, 5), strict=False))
    assert all(record.lr and record.train_loss and record.train_seconds for record in epochs)
    built, images = factories.network_and_images(spec, factories.dataset())
    inputs, labels = images.validation.__getitems__(list(range(20)))
    with torch.inference_mode():
        loss = nn.functional.cross_entropy(built.network.eval()(inputs), labels)
    assert start.val_loss == pytest.approx(float(loss), rel=1e-5)


def test_the_weights_that_the_first_stage_ended_with_can_be_chosen() -> None:
    spec = factories.training_spec(policy="finetune", epochs=2, head_epochs=2, lr=1e-2)
    head, everything = spec.stages
    spoiling = spec.model_copy(update={"stages": (head, everything.model_copy(update={"lr": 0.3}))})
    built, images = factories.network_and_images(spec, factories.dataset())
    before = {name: tensor.clone() for name, tensor in built.network.state_dict().items()}
    trained = train(built.network, spoiling, images, "fp32")
    assert trained.best.epoch == 2
    changed = {name for name, tensor in trained.best.state.items() if not torch.equal(tensor, before[name])}
    assert changed == set(head_parameters(built.network))


def test_the_area_is_recorded_where_it_chooses_and_nowhere_else() -> None:
    by_area, _ = run(factories.training_spec(epochs=2, choose_by="roc_auc"))
    areas = [record.val_roc_auc for record in by_area.run_state.history]
    assert all(area is not None and 0 <= area <= 1 for area in areas)
    assert by_area.best.key[0] == max(area or 0 for area in areas)
    by_accuracy, _ = run(factories.training_spec(epochs=2))
    assert {record.val_roc_auc for record in by_accuracy.run_state.history} == {None}


@pytest.mark.parametrize("policy", ["finetune", "feature-extract"])
def test_test_images_are_evaluated_twice_with_the_chosen_weights_and_with_the_last(policy: str) -> None:
    spec = factories.training_spec(policy=policy, epochs=4)
    built, images = factories.network_and_images(spec, factories.dataset())
    trained = train(built.network, spec, images, "fp32")
    epochs = sum(stage.epochs for stage in spec.stages)
    assert trained.run_state.images_evaluated == 20 * (1 + epochs + 1) + 2 * 20, (
        "validation with epoch 0 and at the end"
    )
    assert images.test is not None
    test = images.test.__getitems__(list(range(20)))[0]
    for state, logits in ((trained.best.state, trained.test_logits), (trained.last_state, trained.last_test_logits)):
        built.network.load_state_dict(state)
        with torch.inference_mode():
            torch.testing.assert_close(built.network(test), logits, rtol=0, atol=1e-5)
