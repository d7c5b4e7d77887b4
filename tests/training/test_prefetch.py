"""Batches prepared ahead of time are the same ones, in the same order."""

from __future__ import annotations

import os
import threading
import time

import psutil
import pytest
import torch
from torch import Tensor

from benchmark.matrix.augmentations import parse
from benchmark.training import devices
from benchmark.training.batches import Batch, EpochBatches, Normaliser, SplitImages
from benchmark.training.prefetch import loader
from benchmark.training.stages import train
from tests import factories

RICH = [parse("hflip"), parse("rotation"), parse("crop"), parse("noise")]
EIGHT = EpochBatches(40, 8, seed=0)


def training_images() -> SplitImages:
    _, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    assert isinstance(images.train, SplitImages)
    return images.train


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) and torch.equal(k, n) for (x, k), (y, n) in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetched_batches_are_those_that_are_prepared_when_asked_for(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.training.batches.preparing_threads", lambda device: threads)
    images = training_images()
    batches = EpochBatches(40, 8, seed=0)
    for epoch in (1, 2):
        images.augment(RICH, seed=0, epoch=epoch)
        batches.epoch = epoch
        assert images.threads == threads
        direct = [images.__getitems__(positions) for positions in batches]
        assert equal(list(loader(images, batches)), direct)


def test_batches_are_prepared_by_threads_while_the_network_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    images = training_images()
    images.augment(RICH, seed=0, epoch=1)
    by: list[str] = []
    original = images.__getitems__

    def noted(positions: list[int]) -> Batch:
        by.append(threading.current_thread().name)
        return original(positions)

    monkeypatch.setattr(images, "__getitems__", noted)
    batches = iter(loader(images, EIGHT))
    next(batches)
    deadline = time.monotonic() + 20
    while len(by) < 3 and time.monotonic() < deadline:  # nobody has asked for these two yet
        time.sleep(0.01)
    assert len(by) == 3
    assert all(name.startswith("batches") for name in by)


def test_the_default_flip_needs_no_thread() -> None:
    images = training_images()
    images.augment([parse("hflip")], seed=0, epoch=1)
    assert images.threads == 0
    before = threading.active_count()
    assert len(list(loader(images, EIGHT))) == 5
    assert threading.active_count() == before


def test_batches_are_made_in_the_process_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = factories.training_spec(epochs=2)
    built, images = factories.network_and_images(spec, factories.dataset(train=16, held_out=4))
    assert isinstance(images.train, SplitImages)
    made_in: list[int] = []
    children: set[psutil.Process] = set()
    original = images.train.__getitems__

    def noted(positions: list[int]) -> Batch:
        made_in.append(os.getpid())
        return original(positions)

    def look(*_: object) -> None:
        children.update(psutil.Process().children())

    monkeypatch.setattr(images.train, "__getitems__", noted)
    built.network.register_forward_pre_hook(look)
    before = set(psutil.Process().children())
    train(built.network, spec, images, "fp32")
    assert made_in == [os.getpid()] * 4
    assert children <= before


def test_an_error_while_a_batch_is_prepared_reaches_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    images = training_images()
    images.augment(RICH, seed=0, epoch=1)

    def broken(positions: list[int]) -> Batch:
        raise OSError("the disk is gone")

    monkeypatch.setattr(images, "__getitems__", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader(images, EIGHT))


def test_threads_left_behind_by_an_epoch_that_was_broken_off_end() -> None:
    images = training_images()
    images.augment(RICH, seed=0, epoch=1)
    before = threading.active_count()
    batches = iter(loader(images, EIGHT))
    next(batches)
    assert threading.active_count() > before
    del batches
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_run_with_rich_augmentations_ends_at_the_same_bits_with_and_without_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = factories.training_spec(epochs=2, augment="[hflip, rotation, noise]")

    def ends_at() -> dict[str, Tensor]:
        built, images = factories.network_and_images(spec, factories.dataset())
        return train(built.network, spec, images, "fp32").last_state

    with_threads = ends_at()
    monkeypatch.setattr("benchmark.training.batches.preparing_threads", lambda device: 0)
    without = ends_at()
    assert all(torch.equal(with_threads[name], without[name]) for name in with_threads)


@pytest.mark.parametrize(("wanted", "kept"), [(24 << 20, True), (26 << 20, False)])
def test_stored_images_are_kept_on_a_gpu_up_to_a_quarter_of_its_free_memory(
    wanted: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 << 20, 1 << 40))
    assert devices.keeps_images(torch.device("cuda"), wanted) is kept
    assert not devices.keeps_images(torch.device("cpu"), wanted)


def test_images_kept_on_the_device_give_the_same_batches_as_those_that_are_moved() -> None:
    data = factories.dataset()
    built, images = factories.network_and_images(factories.training_spec(), data)
    device = torch.device("cpu")
    kept = SplitImages(data.images, data.train, Normaliser(built.mean, built.std, device), device, resident=True)
    for source in (images.train, kept):
        source.augment([parse("hflip")], seed=0, epoch=1)
    assert equal([images.train.__getitems__([3, 1, 17])], [kept.__getitems__([3, 1, 17])])
