"""The way of a batch on a GPU, followed without one: PyTorch's fake tensors know their device but hold no numbers.

An input, label or mean that stays on the CPU raises there, and so does every step that would wait for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torchmetrics.functional.classification import multiclass_accuracy

from benchmark.matrix.augmentations import AUGMENTATIONS, parse
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build
from benchmark.networks.build import BuiltModel
from benchmark.training.batches import Normaliser, SplitImages
from benchmark.training.features import FeatureImages
from tests import factories

GPU = torch.device("cuda", 0)
POSITIONS = [3, 0, 17]

pytestmark = pytest.mark.xfail(
    not torch.cuda.is_available() and torch.__version__ < "2.10",
    reason="before 2.10 PyTorch's fake tensors of a GPU need a GPU",
    raises=RuntimeError,
    strict=True,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("weights")
    return factories.write_pretrained(factories.TINY, folder)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode() as mode, torch.no_grad():
        yield mode


def on_the_gpu(built: BuiltModel, mode: FakeTensorMode) -> Callable[[Tensor], Tensor]:
    """Return a network as a function, its parameters and buffers on the GPU; called outside of the mode."""
    real = {name: tensor.detach() for name, tensor in built.network.state_dict().items()}
    with mode:
        state = {name: mode.from_tensor(tensor).to(GPU) for name, tensor in real.items()}

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(built.network, state, (images,))
        return logits

    return forward


def split_on_the_gpu(built: BuiltModel, channels: int, *, resident: bool) -> SplitImages:
    data = factories.dataset(channels=channels)
    return SplitImages(data.images, data.train, Normaliser(built.mean, built.std, GPU), GPU, resident=resident)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("mode", INPUT_MODES)
def test_a_batch_goes_through_the_network_to_loss_and_metrics_on_the_gpu(
    mode: str, resident: bool, weights: str
) -> None:
    shown = INPUT_MODES[mode]
    built = build.build(factories.TINY, shown, classes=2, source=weights, seed=0)
    built.network.train()
    fake = FakeTensorMode()
    network = on_the_gpu(built, fake)
    with fake, torch.no_grad():
        images = split_on_the_gpu(built, 1 if shown.grey else 3, resident=resident)
        assert (images.threads == 0) is resident, "a streamed batch is prepared ahead"
        images.augment([parse("hflip")], seed=0, epoch=1)
        batch, labels = images.__getitems__(POSITIONS)
        assert batch.device == labels.device == GPU
        assert batch.shape == (3, built.input_channels, 32, 32)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)
        logits = network(batch)
        loss = nn.CrossEntropyLoss()(logits, labels)
        summed = torch.zeros((), dtype=torch.float64, device=GPU) + loss.double() * len(labels)
        share = multiclass_accuracy(logits, labels, num_classes=2, average="micro", validate_args=False)
        assert logits.device == loss.device == summed.device == share.device == GPU
        assert torch.cat([logits, logits]).cpu().device.type == "cpu"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_stays_on_the_gpu(name: str, fake: FakeTensorMode) -> None:
    data = factories.dataset(channels=3)
    images = SplitImages(data.images, data.train, Normaliser((0.5,) * 3, (0.5,) * 3, GPU), GPU, resident=True)
    images.augment([parse(name)], seed=0, epoch=1)
    batch, labels = images.__getitems__(POSITIONS)
    assert batch.device == labels.device == GPU


def test_kept_features_are_looked_up_on_the_gpu(fake: FakeTensorMode) -> None:
    features = torch.zeros(40, 8, device=GPU)
    images = FeatureImages(features, features, torch.zeros(40, dtype=torch.int64, device=GPU))
    images.augment([parse("hflip")], seed=0, epoch=1)
    batch, labels = images.__getitems__(POSITIONS)
    assert batch.device == labels.device == GPU


def test_these_tests_would_see_a_label_on_the_cpu_and_a_wait_for_the_gpu(fake: FakeTensorMode) -> None:
    logits, label = torch.zeros(3, 2, device=GPU), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="device"):
        nn.functional.cross_entropy(logits, label)
    with pytest.raises(DataDependentOutputException):
        float(nn.functional.cross_entropy(logits, label.to(GPU)))
