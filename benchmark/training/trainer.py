"""A pytorch-accelerated Trainer for one stage, which avoids the library's traps."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pytorch_accelerated.callbacks import StopTrainingError
from pytorch_accelerated.trainer import Trainer
from torch import Tensor, nn

from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks.freezing import set_modes
from benchmark.networks.stems import stem_weights
from benchmark.records.record import EpochRecord, StageRecord
from benchmark.seeding import derive_seed
from benchmark.training.batches import EpochBatches, Images, Source
from benchmark.training.checkpoints import Checkpoints, random_state, restore_random_state
from benchmark.training.features import FeatureImages
from benchmark.training.metrics import accuracy, log_loss, roc_auc
from benchmark.training.optimizers import make_optimizer, make_schedule
from benchmark.training.prefetch import loader
from benchmark.training.progress import Best, RunState, choice_key

log = logging.getLogger(__name__)


class Diverged(Exception):
    """A loss is not finite."""


@dataclass(frozen=True)
class Support:
    """The environment of a run's training. Nothing in it affects the result.

    Attributes:
        on_epoch: called after each epoch, and with epoch 0 before the first.
        checkpoints: checkpoints between epochs, or None.
        features: folder of cached features that runs share, or None to compute them in each run.
        about_images: everything that decides the normalised images, as JSON values, which identifies shared features.
    """

    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    checkpoints: Checkpoints | None = None
    features: Path | None = None
    about_images: Mapping[str, object] = field(default_factory=dict)


class _QuietAccelerator(Accelerator):
    def print(self, *args: Any, **kwargs: Any) -> None:
        log.info("%s", " ".join(str(arg) for arg in args))

    def free_memory(self, *objects: Any) -> Any:
        """Do nothing. The Trainer calls this on a new accelerator, and garbage collection takes 0.25 seconds."""
        return objects


def make_accelerator(precision: str) -> Accelerator:
    """Return an accelerator for a precision: ``fp32``, ``fp16`` or ``bf16``."""
    return _QuietAccelerator(mixed_precision="no" if precision == "fp32" else precision)


class StageTrainer(Trainer):
    """The trainer of one stage of a policy; ``train()`` drives every epoch.

    It differs from the library where the defaults corrupt results or cost time. The run's seed is set after the
    library's seed of 42. Each stage has a new optimizer and scheduler. Frozen modules are put into eval mode in each
    epoch. Early stopping and the best weights are handled here instead of in callbacks, whose errors are swallowed.
    The complete state between epochs is saved. Loss and logits stay on the device, so that the host waits for it only
    twice per epoch, at the end of the training steps, where their time is measured, and at the end of the evaluation.

    Args:
        network: on the images' device, with the stage's parameters frozen.
        trained: the network, or only its head if ``images`` are features.
        stage: stage to train.
        spec: definition of the run.
        images: the splits, or their features.
        state: state of the run, which is updated.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        support: see `Support`.
        resumed: content of a checkpoint within this stage, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        trained: nn.Module,
        stage: Stage,
        spec: RunSpec,
        images: Images,
        state: RunState,
        precision: str,
        support: Support,
        resumed: Mapping[str, Any] | None,
    ) -> None:
        self._network = network
        self._precision = precision
        self._stage = stage
        self._spec = spec
        self._images = images
        self._state = state
        self._support = support
        self._resumed = resumed
        self._epochs_done = resumed["epochs_done"] if resumed else 0
        self._since_best = resumed["since_best"] if resumed else 0
        self.stopped_early = resumed["stopped_early"] if resumed else False
        self.best = Best(**resumed["best"]) if resumed and resumed["best_epoch"] is not None else None
        self._epochs_before = state.epochs
        self._stage_number = len(state.stages) + 1
        self._is_last = self._stage_number == len(spec.stages)
        self._whole_network = not isinstance(images.train, FeatureImages)
        self._batches = EpochBatches(len(images.train), spec.batch_size, spec.seed)
        self._applied_lr: list[float] = []
        self._validation_logits: list[Tensor] = []
        self._validation_labels = images.validation.labels.cpu()
        stem = stem_weights(network, spec.model) if stage.stem_lr_factor != 1 else ()
        super().__init__(trained, nn.CrossEntropyLoss(), make_optimizer(network, stage, stem), callbacks=())

    def run(self) -> None:
        """Train the stage or the rest of it. On return the history is filled, and in the last stage also `best`.

        Raises:
            Diverged: a training or validation loss is not finite.
        """
        left = 0 if self.stopped_early else self._stage.epochs - self._epochs_done
        if left:
            self.train(
                train_dataset=self._images.train,
                eval_dataset=self._images.validation,
                num_epochs=left,
                per_device_batch_size=self._spec.batch_size,
                create_scheduler_fn=self._make_scheduler,
            )
        trainable = [parameter.numel() for parameter in self._network.parameters() if parameter.requires_grad]
        self._state.stages.append(
            StageRecord(
                trainable=self._stage.trainable,
                trainable_parameters=sum(trainable),
                batch_norm=self._stage.batch_norm,
                epochs_run=self._epochs_done,
                stopped_early=self.stopped_early,
                cached_features=not self._whole_network,
            )
        )

    def _create_accelerator(self) -> Accelerator:
        return make_accelerator(self._precision)

    def create_train_dataloader(self, batch_size: int, train_dl_kwargs: dict[str, Any] | None = None) -> Any:
        return loader(self._images.train, self._batches)

    def create_eval_dataloader(self, batch_size: int, eval_dl_kwargs: dict[str, Any] | None = None) -> Any:
        return loader(self._images.validation)

    def _make_scheduler(self, optimizer: Any) -> torch.optim.lr_scheduler.LambdaLR:
        return make_schedule(optimizer, self._stage, len(self._train_dataloader))

    @property
    def _epoch(self) -> int:
        """The current epoch, 1-based, over all stages."""
        return self._epochs_before + int(self.run_history.current_epoch)

    def training_run_start(self) -> None:
        if self._resumed is None:
            if not self._state.history:
                self._evaluate_untrained()
            if self._is_last and self._spec.choose_start:
                self._keep_if_best(self._state.history[-1])
            torch.manual_seed(derive_seed(self._spec.seed, "training", self._stage_number))
            return
        self.optimizer.load_state_dict(self._resumed["optimizer"])
        self.scheduler.load_state_dict(self._resumed["scheduler"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(self._resumed["scaler"])
        restore_random_state(self._resumed["random"])

    def train_epoch_start(self) -> None:
        set_modes(self._network, self._stage.trainable, self._stage.batch_norm)
        self._batches.epoch = self._epoch
        self._images.train.augment(self._spec.augment, self._spec.seed, self._epoch)
        self._applied_lr = []
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._loss_count = 0
        self._state.stopwatch.start()

    def optimizer_step(self) -> None:
        self._applied_lr.append(float(self.optimizer.param_groups[0]["lr"]))
        super().optimizer_step()

    def _update_loss_tracker(self, batch_loss: Tensor, batch_size: int) -> None:
        self._loss_sum += batch_loss.detach().double() * batch_size
        self._loss_count += batch_size

    def _add_epoch_loss_to_run_history(self, metric_name: str) -> None:
        """Leave the loss on the device; `RunState` has the history, and the library's is not used."""

    def train_epoch_end(self) -> None:
        loss = float(self._loss_sum) / self._loss_count
        self._epoch_seconds = self._state.stopwatch.stop()
        self._state.train_seconds += self._epoch_seconds
        self._state.images_trained += self._loss_count
        if self._whole_network:
            self._state.whole_network_seconds += self._epoch_seconds
            self._state.whole_network_images += self._loss_count
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {self._epoch}")
        self._train_loss = loss

    def eval_epoch_start(self) -> None:
        super().eval_epoch_start()
        self._validation_logits = []
        self._state.stopwatch.start()

    def calculate_eval_batch_loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        with torch.inference_mode():
            output: dict[str, Any] = super().calculate_eval_batch_loss(batch)
        self._validation_logits.append(output["model_outputs"].float())
        return output

    def _logits(self, images: Source) -> Tensor:
        """Return the logits of a split: float32, shape (n, classes), on the CPU."""
        self.model.eval()
        with torch.inference_mode(), self._accelerator.autocast():
            return torch.cat([self.model(inputs).float() for inputs, _ in loader(images)]).cpu()

    def evaluate_split(self, name: Literal["validation", "test"]) -> Tensor:
        """Return the logits of a split with the current weights: float32, shape (n, classes), on the CPU.

        In a tuning run, which has no test images, the test logits are empty.
        """
        images: Source | None = getattr(self._images, name)
        if images is None:
            return torch.empty(0)
        self._state.stopwatch.start()
        logits = self._logits(images)
        self._count_evaluation(logits)
        return logits

    def _evaluate_untrained(self) -> None:
        self._state.stopwatch.start()
        self._support.on_epoch(self._record(self._logits(self._images.validation), 0, None, None, 0.0))

    def training_run_epoch_end(self) -> None:
        logits = torch.cat(self._validation_logits).cpu()  # waits for the device, once
        record = self._record(logits, self._epoch, self._applied_lr[0], self._train_loss, self._epoch_seconds)
        if self._is_last:
            self._count_patience(record)
            self._keep_if_best(record)
        self._epochs_done += 1
        self._keep_checkpoint()
        self._support.on_epoch(record)
        if self.stopped_early:
            raise StopTrainingError(f"the validation score has not improved for {self._since_best} epochs")

    def _record(
        self, logits: Tensor, epoch: int, lr: float | None, train_loss: float | None, seconds: float
    ) -> EpochRecord:
        """Record an evaluation of the validation split."""
        labels = self._validation_labels
        record = EpochRecord(
            stage=self._stage_number,
            epoch=epoch,
            lr=lr,
            train_loss=train_loss,
            val_loss=log_loss(logits, labels),
            val_accuracy=accuracy(logits, labels),
            val_roc_auc=roc_auc(logits, labels) if self._spec.choose_by == "roc_auc" else None,
            train_seconds=seconds,
        )
        if not math.isfinite(record.val_loss):
            raise Diverged(f"the validation loss is {record.val_loss} in epoch {epoch}")
        self._count_evaluation(logits)
        self._state.history.append(record)
        return record

    def _count_evaluation(self, logits: Tensor) -> None:
        self._state.eval_seconds += self._state.stopwatch.stop()
        self._state.images_evaluated += len(logits)

    def _key(self, record: EpochRecord) -> tuple[float, float]:
        return choice_key(record, self._spec.choose_by, len(self._validation_labels))

    def _count_patience(self, record: EpochRecord) -> None:
        """Count epochs since the first part of the key last improved; to be called before `_keep_if_best`."""
        rose = self.best is None or self._key(record)[0] > self.best.key[0]
        self._since_best = 0 if rose else self._since_best + 1
        self.stopped_early = self._stage.patience is not None and self._since_best >= self._stage.patience

    def _keep_if_best(self, record: EpochRecord) -> None:
        """Keep the network's current weights if their evaluation is the best so far."""
        key = self._key(record)
        if self.best is None or key > self.best.key:
            state = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
            self.best = Best(record.epoch, key, state)

    def _keep_checkpoint(self) -> None:
        if self._support.checkpoints is None:
            return
        content = {
            "stage": self._stage_number,
            "epochs_done": self._epochs_done,
            "since_best": self._since_best,
            "stopped_early": self.stopped_early,
            "network": self._network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self._accelerator.scaler.state_dict() if self._accelerator.scaler is not None else None,
            "random": random_state(),
            "progress": self._state.as_data(),
        }
        best = (self.best.epoch, vars(self.best)) if self.best else (None, {})
        self._support.checkpoints.save(content, *best)
