from __future__ import annotations

import math
import traceback
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.matrix.augmentations import parse
from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks.freezing import set_trainable
from benchmark.networks.heads import head_parameters
from benchmark.seeding import derive_seed
from benchmark.training.batches import EpochBatches
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import Diverged
from tests import factories
from tests.training.training_runs import at_each_step, run, without_times


def steps_inside_train(spec: RunSpec, images: int = 40) -> tuple[TrainedNetwork, list[bool]]:
    """Train; return for every optimizer step whether it was taken inside Trainer.train()."""
    steps: list[bool] = []

    def note(optimizer: torch.optim.Optimizer) -> None:
        frames = traceback.extract_stack()
        steps.append(any(f.name == "train" and f.filename.endswith("pytorch_accelerated/trainer.py") for f in frames))

    with at_each_step(note):
        return run(spec, images=images)[0], steps


def order_of(epoch: int) -> list[int]:
    """Return the order in which seed 0 shows the 40 training images."""
    batches = EpochBatches(40, 8, seed=0)
    batches.epoch = epoch
    return [position for batch in batches for position in batch]


def batches_seen(spec: RunSpec, channels: int = 1) -> list[Tensor]:
    """Return every training batch of the whole network, back on the 0..255 scale, first channel, rounded."""
    built, images = factories.network_and_images(spec, factories.dataset(channels=channels))
    seen: list[Tensor] = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(((args[0][:, :1] * built.std[0] + built.mean[0]) * 255).round())

    built.network.register_forward_pre_hook(look)
    train(built.network, spec, images, "fp32")
    return seen


@pytest.mark.parametrize("policy", ["finetune", "finetune-whole", "scratch"])
def test_every_optimizer_step_is_driven_by_the_trainers_train(policy: str) -> None:
    trained, steps = steps_inside_train(factories.training_spec(policy=policy))
    epochs = 3 + (policy == "finetune")
    assert len(steps) == epochs * math.ceil(40 / 8)
    assert all(steps)
    assert sum(stage.epochs_run for stage in trained.run_state.stages) == epochs


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("timm/resnetrs50", marks=pytest.mark.slow),
        "timm/test_efficientnet",
        "timm/test_convnext",
        "timm/test_vit",
    ],
)
def test_a_frozen_backbone_has_no_trainable_parameter_left_over(model: str) -> None:
    built, _ = factories.network_and_images(factories.training_spec(model=model), factories.dataset())
    set_trainable(built.network, "head")
    trainable = {name for name, parameter in built.network.named_parameters() if parameter.requires_grad}
    assert trainable == set(head_parameters(built.network))


def head_stage(batch_norm: str) -> Stage:
    given = {"trainable": "head", "epochs": 2, "lr": 1e-2, "batch_norm": batch_norm, "optimizer": "adamw"}
    return Stage.model_validate({**given, "weight_decay": 0.0, "scheduler": "cosine", "patience": None})


@pytest.mark.parametrize(("batch_norm", "drifts"), [("eval", False), ("train", True)])
@pytest.mark.parametrize("augment", ["[hflip]", "[noise]"], ids=["cached features", "running backbone"])
def test_batch_norms_of_a_frozen_backbone_stay_exactly_where_the_stage_says_eval(
    batch_norm: str, drifts: bool, augment: str
) -> None:
    spec = factories.training_spec(augment=augment).model_copy(update={"stages": (head_stage(batch_norm),)})
    built, images = factories.network_and_images(spec, factories.dataset())
    before = {name: tensor.clone() for name, tensor in built.network.state_dict().items()}
    trained = train(built.network, spec, images, "fp32")
    head = set(head_parameters(built.network))
    changed = {name for name, tensor in trained.last_state.items() if not torch.equal(tensor, before[name])}
    statistics = {name for name in changed if "running_" in name}
    assert bool(statistics) is drifts
    assert changed - statistics - {name for name in changed if name.endswith("num_batches_tracked")} == head


@pytest.mark.parametrize("policy", ["finetune", "scratch"])
def test_two_runs_of_one_spec_give_identical_weights_bit_for_bit(policy: str) -> None:
    first, _ = run(factories.training_spec(policy=policy))
    torch.manual_seed(12345)  # whatever ran before must not matter
    second, _ = run(factories.training_spec(policy=policy))
    assert first.last_state.keys() == second.last_state.keys()
    assert all(torch.equal(first.last_state[name], tensor) for name, tensor in second.last_state.items())
    assert torch.equal(first.test_logits, second.test_logits)
    assert without_times(first) == without_times(second)


def test_two_seeds_differ_in_head_order_and_mirroring() -> None:
    built = [
        factories.network_and_images(factories.training_spec(seed=seed), factories.dataset())[0] for seed in (0, 1)
    ]
    for name in head_parameters(built[0].network):
        if name.endswith("weight"):
            assert not torch.equal(built[0].network.state_dict()[name], built[1].network.state_dict()[name])
    mirrored = [batches_seen(factories.training_spec(seed=seed)) for seed in (0, 1)]
    plain = [batches_seen(factories.training_spec(seed=seed, augment="[]")) for seed in (0, 1)]
    assert not torch.equal(plain[0][0], plain[1][0]), "same order"
    # An image's identity is its set of pixels; which of the two mirror images is shown is the flip.
    flips = [{tuple(i.flatten().sort().values.tolist()): i for i in torch.cat(seen[:5])} for seen in mirrored]
    assert flips[0].keys() == flips[1].keys()
    assert any(not torch.equal(flips[0][image], flips[1][image]) for image in flips[0]), "same flips"


@pytest.mark.parametrize(
    "other",
    [("grey-1ch", "scratch"), ("grey-3ch", "finetune-whole"), ("grey-3ch", "bn-only")],
)
def test_one_seed_shows_every_cell_the_same_images_in_the_same_order_with_the_same_flips(
    other: tuple[str, str],
) -> None:
    reference = batches_seen(factories.training_spec("grey-1ch", "finetune-whole"))
    compared = batches_seen(factories.training_spec(*other))
    assert len(reference) == len(compared) == 15
    assert all(torch.equal(a, b) for a, b in zip(reference, compared, strict=True))


def test_flips_are_decided_per_image_and_anew_in_each_epoch() -> None:
    plain = batches_seen(factories.training_spec(augment="[]"))
    mirrored = batches_seen(factories.training_spec())
    shares = []
    for epoch in range(3):
        a, b = torch.cat(plain[epoch * 5 : epoch * 5 + 5]), torch.cat(mirrored[epoch * 5 : epoch * 5 + 5])
        same = (a == b).flatten(1).all(1)
        turned = (a.flip(-1) == b).flatten(1).all(1)
        assert bool((same ^ turned).all()), "an image is shown as it is or mirrored, nothing else"
        by_image = torch.empty_like(turned)
        by_image[order_of(epoch + 1)] = turned
        shares.append(by_image)
    assert 0.2 < torch.cat(shares).float().mean() < 0.8
    assert not torch.equal(shares[0], shares[1])


def test_other_augmentations_are_the_same_in_every_cell_and_new_in_each_epoch() -> None:
    augment = "[hflip, {rotation: {degrees: 20}}, noise]"
    reference = batches_seen(factories.training_spec("grey-1ch", "finetune-whole", augment=augment))
    compared = batches_seen(factories.training_spec("grey-3ch", "bn-only", augment=augment))
    assert all(torch.equal(a, b) for a, b in zip(reference, compared, strict=True))
    plain = batches_seen(factories.training_spec())
    assert not any(torch.equal(a, b) for a, b in zip(reference, plain, strict=True))
    one_image = [torch.cat(reference[epoch * 5 : epoch * 5 + 5])[order_of(epoch + 1).index(0)] for epoch in range(3)]
    assert not torch.equal(one_image[0], one_image[1])


def test_what_happens_to_an_image_does_not_depend_on_its_batch() -> None:
    _, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    images.train.augment([parse("hflip"), parse("rotation"), parse("noise")], seed=0, epoch=1)
    together, _ = images.train.__getitems__([3, 7, 11])
    alone, _ = images.train.__getitems__([11])
    assert torch.equal(together[2], alone[0])
    images.train.augment([], seed=0, epoch=1)
    assert not torch.equal(images.train.__getitems__([11])[0][0], alone[0])


def test_evaluation_never_mirrors_and_never_trains_and_sees_test_images_twice_at_the_end() -> None:
    spec = factories.training_spec()
    data = factories.dataset()
    built, images = factories.network_and_images(spec, data)
    seen: list[Tensor] = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not module.training:
            assert not torch.is_grad_enabled()
            seen.append(((args[0] * built.std[0] + built.mean[0]) * 255).round())

    built.network.register_forward_pre_hook(look)
    train(built.network, spec, images, "fp32")
    stored = [torch.from_numpy(data.images[s.rows]).permute(0, 3, 1, 2).float() for s in (data.validation, data.test)]
    order = [stored[0]] * 4 + [stored[1], stored[0], stored[1]]
    assert len(seen) == len(order), (
        "epoch 0 and three epochs, then test images twice, with the last weights and the chosen"
    )
    assert all(torch.equal(images, wanted) for images, wanted in zip(seen, order, strict=True))


def test_training_randomness_is_seeded_by_the_run_and_not_by_the_librarys_42() -> None:
    seeds: dict[int, int] = {}
    for seed in (0, 1):
        spec = factories.training_spec(seed=seed)

        def look(module: nn.Module, args: Any, seed: int = seed) -> None:
            if module.training:
                seeds.setdefault(seed, torch.initial_seed())

        run(spec, hook=look)
    assert seeds == {seed: derive_seed(seed, "training", 1) for seed in (0, 1)}


def test_the_best_epochs_weights_are_restored_and_its_logits_are_theirs() -> None:
    spec = factories.training_spec(epochs=6)
    data = factories.dataset()
    scrambled = np.random.default_rng(0).permutation(data.validation.labels)  # so that the last epoch is not the best
    data = replace(data, validation=replace(data.validation, labels=scrambled))
    built, images = factories.network_and_images(spec, data)
    trained = train(built.network, spec, images, "fp32")
    history = trained.run_state.history
    losses = [epoch.val_loss for epoch in history]  # they choose on 20 images
    assert trained.best.epoch == history[losses.index(min(losses))].epoch
    assert trained.best.epoch < 6, "the test needs a best epoch that is not the last"
    assert not built.network.training
    with torch.inference_mode():
        assert images.test is not None
        logits = built.network(images.test.__getitems__(list(range(20)))[0])
    assert torch.equal(logits, trained.test_logits)
    assert not all(torch.equal(tensor, trained.best.state[name]) for name, tensor in trained.last_state.items())


def test_without_early_stopping_every_epoch_is_run() -> None:
    trained, _ = run(factories.training_spec(epochs=8, early_stopping="null"))
    assert trained.run_state.epochs == 8
    assert not trained.run_state.stages[0].stopped_early


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged() -> None:
    with pytest.raises(Diverged, match=r"loss is (nan|inf) in epoch 1"):
        run(factories.training_spec(lr=1e30))


def test_epochs_are_counted_over_all_stages() -> None:
    trained, _ = run(factories.training_spec(policy="finetune", epochs=2, head_epochs=2))
    places = [(epoch.stage, epoch.epoch) for epoch in trained.run_state.history]
    assert places == [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]


def test_the_recorded_training_loss_is_the_mean_over_images() -> None:
    spec = factories.training_spec(epochs=1, lr=1e-12, weight_decay=0, batch_size=16, augment="[]")
    built, images = factories.network_and_images(spec, factories.dataset(train=40))
    losses: list[tuple[float, int]] = []
    labels: list[Tensor] = []
    original = images.train.__getitems__

    def remember(positions: list[int]) -> tuple[Tensor, Tensor]:
        batch = original(positions)
        labels.append(batch[1])
        return batch

    images.train.__getitems__ = remember  # type: ignore[method-assign]

    def look(module: nn.Module, args: Any, output: Tensor) -> None:
        if module.training:
            target = labels[len(losses)]
            losses.append((float(nn.functional.cross_entropy(output.detach(), target)), len(target)))

    built.network.register_forward_hook(look)
    trained = train(built.network, spec, images, "fp32")
    expected = sum(loss * n for loss, n in losses) / 40
    assert [n for _, n in losses] == [16, 16, 8]
    assert trained.run_state.history[-1].train_loss == pytest.approx(expected, rel=1e-6)


def test_a_small_last_batch_joins_the_one_before_and_the_schedule_counts_the_steps_that_are_left() -> None:
    applied: list[float] = []
    with at_each_step(lambda optimizer: applied.append(optimizer.param_groups[0]["lr"])):
        trained, _ = run(factories.training_spec(epochs=2), images=19)
    assert trained.run_state.images_trained == 2 * 19
    assert applied == pytest.approx([1e-3 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_a_run_in_another_precision_does_not_change_the_next_one() -> None:
    spec = factories.training_spec(policy="finetune", epochs=2)
    first, _ = run(spec)
    other, _ = run(spec, "bf16")
    assert not torch.equal(other.test_logits, first.test_logits), "bf16 was not in force"
    again, _ = run(spec)
    assert torch.equal(first.test_logits, again.test_logits)


def test_a_plain_loop_over_the_same_batches_ends_at_the_same_weights() -> None:
    spec = factories.training_spec(policy="finetune", epochs=2, head_epochs=2)
    trained, _ = run(spec)
    built, images = factories.network_and_images(spec, factories.dataset())
    network, classifier = built.network, list(head_parameters(built.network).values())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    losses: list[float] = []
    for parameters, lr, frozen in ((classifier, 1e-3, True), (list(network.parameters()), 1e-4, False)):
        for parameter in network.parameters():
            parameter.requires_grad = any(parameter is wanted for wanted in parameters)
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
        step, steps = 0, 2 * 5
        for _ in range(2):
            epoch = len(losses) + 1
            losses.append(0.0)
            network.train(not frozen)
            for module in network.modules():
                module.training &= not isinstance(module, nn.BatchNorm2d)
            order = torch.randperm(40, generator=torch.Generator().manual_seed(derive_seed(0, "order", epoch)))
            mirror = torch.rand(40, generator=torch.Generator().manual_seed(derive_seed(0, "mirror", epoch))) < 0.5
            for positions in order.split(8):
                batch, labels = images.train.__getitems__(positions.tolist())
                batch = torch.where(mirror[positions].view(-1, 1, 1, 1), batch.flip(-1), batch)
                for group in optimizer.param_groups:
                    group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(batch), labels)
                loss.backward()
                optimizer.step()
                step += 1
                losses[-1] += float(loss.detach()) * 8 / 40
    recorded = [epoch.train_loss for epoch in trained.run_state.history[1:]]
    assert recorded == pytest.approx(losses, rel=1e-5)
    # Adam divides by the gradient's size, so that rounding decides the steps of weights without a gradient: the
    # distance is judged against the way that the weights went.
    after = network.state_dict()
    floating = [name for name, tensor in after.items() if tensor.is_floating_point()]
    apart = sum(float((after[name] - trained.last_state[name]).pow(2).sum()) for name in floating)
    moved = sum(float((after[name] - before[name]).pow(2).sum()) for name in floating)
    assert math.sqrt(apart / moved) < 1e-3


class Readings(TorchDispatchMode):
    """Counts what copies numbers from the device to the host, for which a GPU's queue must run empty."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return func(*args, **(kwargs or {}))


class Conversions(TorchFunctionMode):
    """Counts the same where tensors on a CPU have nothing to copy."""

    NAMES = ("tolist", "cpu", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__", "item")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += (resolve_name(func) or "").rpartition(".")[2] in self.NAMES
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("policy", ["finetune-whole", "feature-extract"])
def test_the_host_reads_no_more_from_the_device_in_an_epoch_of_more_steps(policy: str) -> None:
    def readings(images_to_train: int) -> tuple[int, int]:
        spec = factories.training_spec(policy=policy, epochs=2)
        built, images = factories.network_and_images(spec, factories.dataset(train=images_to_train))
        with Readings() as scalars, Conversions() as conversions:
            train(built.network, spec, images, "fp32")
        return scalars.number, conversions.number

    few, many = readings(16), readings(56)
    assert min(few) > 0, "the losses of an epoch are read"
    assert few == many
