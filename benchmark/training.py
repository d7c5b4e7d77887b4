"""Training: pytorch-accelerated's Trainer, one for each stage, with the library's traps closed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from pytorch_accelerated.callbacks import StopTrainingError
from pytorch_accelerated.trainer import Trainer
from torch import Tensor, nn

from benchmark.batches import EpochOrder, SplitImages, loader
from benchmark.freezing import set_modes, set_trainable
from benchmark.matrix import RunSpec
from benchmark.metrics import accuracy, log_loss
from benchmark.policies import Stage
from benchmark.records import EpochRecord, StageRecord
from benchmark.seeding import derive_seed

log = logging.getLogger(__name__)

EVALUATION_BATCH = 128
"""Images a batch in evaluation; fixed, because the batch size can change the last bits of the logits."""


class Diverged(Exception):
    """A loss is no longer finite."""


@dataclass
class Best:
    """The chosen checkpoint so far: better validation accuracy, then lower validation loss, then earlier.

    Attributes:
        epoch: 1-based, over all stages.
        state: the network's tensors, on the device.
        validation_logits: float32, shape (n, classes), on the CPU.
        test_logits: likewise.
    """

    epoch: int
    key: tuple[float, float]
    state: dict[str, Tensor]
    validation_logits: Tensor
    test_logits: Tensor


@dataclass
class Progress:
    """What a run has reached, over all of its stages."""

    history: list[EpochRecord] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    images_trained: int = 0
    images_evaluated: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0


@dataclass(frozen=True)
class Images:
    """The three splits on the device."""

    train: SplitImages
    validation: SplitImages
    test: SplitImages


class _QuietAccelerator(Accelerator):
    def print(self, *args: Any, **kwargs: Any) -> None:
        log.info("%s", " ".join(str(arg) for arg in args))


def reset_accelerate() -> None:
    """Forget accelerate's process-wide state, which would carry one run's precision into the next (trap 18)."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def cosine(step: int, steps: int) -> float:
    """Return the learning rate's factor at a step: (1 + cos(pi step / steps)) / 2.

    Loshchilov and Hutter 2017 (SGDR) without restarts or warm-up: 1 at step 0, zero after the last of ``steps``.
    """
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


class StageTrainer(Trainer):
    """Trains one stage of a policy; ``train()`` drives every epoch.

    Differs from the library where its defaults corrupt results or cost time (library-traps.md): the run's seed is set
    after the library's own 42, a new optimizer and scheduler belong to each stage, frozen modules are put into eval
    mode in each epoch, early stopping and the best checkpoint are kept here instead of in callbacks (whose errors are
    swallowed), and the loss stays on the device until the epoch ends.
    """

    def __init__(
        self,
        network: nn.Module,
        stage: Stage,
        spec: RunSpec,
        images: Images,
        progress: Progress,
        precision: str,
        on_epoch: Callable[[EpochRecord], None],
    ) -> None:
        self._precision = precision
        self._stage = stage
        self._spec = spec
        self._images = images
        self._progress = progress
        self._on_epoch = on_epoch
        self._epochs_before = len(progress.history)
        self._stage_number = len(progress.stages) + 1
        self._order = EpochOrder(len(images.train), spec.batch_size, spec.seed)
        self._applied_lr: list[float] = []
        self._validation_logits: list[Tensor] = []
        self._since_best = 0
        self._best_accuracy = -1.0
        self.best: Best | None = None
        self.stopped_early = False
        parameters = set_trainable(network, stage.trainable)
        self.trainable_parameters = sum(parameter.numel() for parameter in parameters)
        optimizer = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay, fused=True)
        super().__init__(network, nn.CrossEntropyLoss(), optimizer, callbacks=())

    def run(self) -> None:
        """Train the stage; the history and `best` are filled on return.

        Raises:
            Diverged: the training or validation loss is not finite at the end of an epoch.
        """
        self.train(
            train_dataset=self._images.train,
            eval_dataset=self._images.validation,
            num_epochs=self._stage.epochs,
            per_device_batch_size=self._spec.batch_size,
            create_scheduler_fn=self._make_scheduler,
        )
        self._progress.stages.append(
            StageRecord(
                trainable=self._stage.trainable,
                trainable_parameters=self.trainable_parameters,
                batch_norm=self._stage.batch_norm,
                epochs_run=len(self._progress.history) - self._epochs_before,
                stopped_early=self.stopped_early,
            )
        )

    def _create_accelerator(self) -> Accelerator:
        mixed = "no" if self._precision == "fp32" else self._precision
        return _QuietAccelerator(mixed_precision=mixed)

    def create_train_dataloader(self, batch_size: int, train_dl_kwargs: dict[str, Any] | None = None) -> Any:
        return loader(self._images.train, batch_size, self._order)

    def create_eval_dataloader(self, batch_size: int, eval_dl_kwargs: dict[str, Any] | None = None) -> Any:
        return loader(self._images.validation, EVALUATION_BATCH)

    def _make_scheduler(self, optimizer: Any) -> torch.optim.lr_scheduler.LambdaLR:
        steps = self._stage.epochs * len(self._train_dataloader)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, steps))

    @property
    def _epoch(self) -> int:
        """The current epoch, 1-based, over all stages."""
        return self._epochs_before + int(self.run_history.current_epoch)

    def training_run_start(self) -> None:
        torch.manual_seed(derive_seed(self._spec.seed, "training", self._stage_number))

    def train_epoch_start(self) -> None:
        set_modes(self.model, self._stage.trainable, self._stage.batch_norm)
        self._order.epoch = self._epoch
        self._images.train.augment(self._spec.augment, self._spec.seed, self._epoch)
        self._applied_lr = []
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._loss_count = 0
        self._started = time.perf_counter()

    def optimizer_step(self) -> None:
        self._applied_lr.append(float(self.optimizer.param_groups[0]["lr"]))
        super().optimizer_step()

    def _update_loss_tracker(self, batch_loss: Tensor, batch_size: int) -> None:
        self._loss_sum += batch_loss.detach().double() * batch_size
        self._loss_count += batch_size

    def _add_epoch_loss_to_run_history(self, metric_name: str) -> None:
        self.run_history.update_metric(metric_name, float(self._loss_sum) / self._loss_count)

    def train_epoch_end(self) -> None:
        loss = float(self._loss_sum) / self._loss_count
        self._epoch_seconds = time.perf_counter() - self._started
        self._progress.train_seconds += self._epoch_seconds
        self._progress.images_trained += self._loss_count
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {self._epoch}")
        self._train_loss = loss

    def eval_epoch_start(self) -> None:
        super().eval_epoch_start()
        self._validation_logits = []
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._loss_count = 0
        self._started = time.perf_counter()

    def calculate_eval_batch_loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        with torch.inference_mode():
            output: dict[str, Any] = super().calculate_eval_batch_loss(batch)
        self._validation_logits.append(output["model_outputs"].float())
        return output

    def _test_logits(self) -> Tensor:
        with torch.inference_mode(), self._accelerator.autocast():
            batches = loader(self._images.test, EVALUATION_BATCH)
            return torch.cat([self.model(images).float() for images, _ in batches])

    def training_run_epoch_end(self) -> None:
        validation = torch.cat(self._validation_logits)
        test = self._test_logits()
        record = EpochRecord(
            stage=self._stage_number,
            epoch=self._epoch,
            lr=self._applied_lr[0],
            train_loss=self._train_loss,
            val_loss=log_loss(validation, self._images.validation.labels),
            val_accuracy=accuracy(validation, self._images.validation.labels),
            test_accuracy=accuracy(test, self._images.test.labels),
            train_seconds=self._epoch_seconds,
        )
        self._keep_if_best(record, validation, test)
        self._progress.eval_seconds += time.perf_counter() - self._started
        self._progress.images_evaluated += len(validation) + len(test)
        if not math.isfinite(record.val_loss):
            raise Diverged(f"the validation loss is {record.val_loss} in epoch {self._epoch}")
        self._progress.history.append(record)
        self._on_epoch(record)
        self._stop_if_no_better(record)

    def _keep_if_best(self, record: EpochRecord, validation: Tensor, test: Tensor) -> None:
        key = (record.val_accuracy, -record.val_loss)
        if self.best is None or key > self.best.key:
            state = {name: tensor.detach().clone() for name, tensor in self.get_model().state_dict().items()}
            self.best = Best(record.epoch, key, state, validation.cpu(), test.cpu())

    def _stop_if_no_better(self, record: EpochRecord) -> None:
        if record.val_accuracy > self._best_accuracy:
            self._best_accuracy = record.val_accuracy
            self._since_best = 0
            return
        self._since_best += 1
        if self._stage.patience is not None and self._since_best >= self._stage.patience:
            self.stopped_early = True
            raise StopTrainingError(f"no better validation accuracy for {self._since_best} epochs")


@dataclass(frozen=True)
class Trained:
    """The outcome of all stages; the network holds the chosen checkpoint's weights.

    Attributes:
        progress: history, stages and times.
        best: the last stage's chosen checkpoint.
        last_state: the network's tensors after the last epoch.
    """

    progress: Progress
    best: Best
    last_state: dict[str, Tensor]


def train(
    network: nn.Module,
    spec: RunSpec,
    images: Images,
    precision: str,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> Trained:
    """Take a network through the stages of its policy, in place.

    Args:
        network: on the images' device, channels-last.
        spec: stages, seed, batch size, augmentation.
        images: the three splits.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        on_epoch: called after each epoch.

    Raises:
        Diverged: a loss is not finite.
    """
    reset_accelerate()
    progress = Progress()
    trainer = None
    for stage in spec.stages:
        trainer = StageTrainer(network, stage, spec, images, progress, precision, on_epoch)
        trainer.run()
        network = trainer.get_model()
    if trainer is None or trainer.best is None:
        raise RuntimeError("a policy has at least one stage of at least one epoch")
    last_state = deepcopy(network.state_dict())
    network.load_state_dict(trainer.best.state, strict=True)
    network.eval()
    return Trained(progress, trainer.best, last_state)
