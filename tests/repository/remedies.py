"""The traps that touch this project, the remedy of each, and proof that its test notices the remedy's absence.

    python -m tests.repository.remedies [NAME…]

Each remedy is a function that is replaced by one without it, in a process of its own; the remedy's test must then fail,
by an assertion or an error inside the test, and pass otherwise. Prints a table; exits with 1 if an absence goes
unnoticed.

Numbers are those of docs/traps.md; what has none is the protocol's, or timm's. Numbers that
are not in the table concern nothing that is used here: functions that seed workers (2; there are no workers, see 21),
``evaluate()`` (17), clipping (19), several processes per run (20), EMA and ``run_config`` (23);
timm's ``checkpoint_path=`` and overlays.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from accelerate.state import AcceleratorState
from PIL import Image, ImageOps
from pytorch_accelerated.callbacks import TrainerCallback
from pytorch_accelerated.trainer import Trainer
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy

import benchmark.training.run  # noqa: F401 - the libraries behind it are loaded once, for every fork
from benchmark import environment
from benchmark.data.decoding import pixels
from benchmark.data.splits import assign, draw
from benchmark.errors import UserError
from benchmark.matrix import policies, tuning
from benchmark.matrix.input_modes import InputMode
from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import freezing, initialisation, stems
from benchmark.networks.libraries.timm_models import TimmModel
from benchmark.training import context, devices, features, optimizers
from benchmark.training import trainer as training
from benchmark.training.batches import EpochBatches, Normaliser
from benchmark.training.trainer import StageTrainer

TESTS = Path(__file__).resolve().parents[1]


class Absence:
    """Replaces functions for the rest of this process."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()

    def of(self, owner: Any, name: str, replacement: Any) -> None:
        """Replace an attribute of a class or a module."""
        self._patch.setattr(owner, name, replacement)

    def everywhere(self, function: Any, replacement: Any) -> None:
        """Replace a function under every name that a module of the package has for it."""
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "benchmark":
                for key, value in list(vars(module).items()):
                    if value is function:
                        self._patch.setattr(module, key, replacement)


@dataclass(frozen=True)
class Remedy:
    """One remedy.

    Attributes:
        trap: its number in the list, or its subject.
        remove: takes the remedy away in this process; its name is the remedy's.
        test: name of the test that guards it, with its parameters.
    """

    trap: str
    remove: Callable[[Absence], None]
    test: str

    @property
    def name(self) -> str:
        """For the command line."""
        return self.remove.__name__.replace("_", "-")

    def node(self) -> str:
        """Return the test's node id.

        Raises:
            ValueError: not exactly one file under ``tests/`` defines it.
        """
        definition = f"\ndef {self.test.partition('[')[0]}("
        files = [path for path in TESTS.rglob("test_*.py") if definition in path.read_text(encoding="utf-8")]
        if len(files) != 1:
            raise ValueError(f"{self.name}: {len(files)} files define {self.test}")
        return f"{files[0]}::{self.test}"


REMEDIES: list[Remedy] = []


def without(trap: str, test: str) -> Callable[[Callable[[Absence], None]], Callable[[Absence], None]]:
    """Register a function that takes a remedy away."""

    def register(remove: Callable[[Absence], None]) -> Callable[[Absence], None]:
        REMEDIES.append(Remedy(trap, remove, test))
        return remove

    return register


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


@without("1 the library seeds with 42", "test_training_randomness_is_seeded_by_the_run_and_not_by_the_librarys_42")
def seed_of_training(absence: Absence) -> None:
    original = StageTrainer.training_run_start

    def start(self: Any) -> None:
        original(self)
        torch.manual_seed(42)

    absence.of(StageTrainer, "training_run_start", start)


@without("1 seed before the model", "test_a_seed_gives_the_same_head_in_every_input_mode_and_another_seed_another")
def seed_of_weights(absence: Absence) -> None:
    def unseeded(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.filled.append(result)
        return result

    absence.of(initialisation._RandomOperations, "__torch_dispatch__", unseeded)


@without("3 a second stage is shortened", "test_epochs_are_counted_over_all_stages")
def epochs_over_stages(absence: Absence) -> None:
    absence.of(StageTrainer, "_epoch", property(lambda self: int(self.run_history.current_epoch)))


@without(
    "4 the new learning rate is ignored",
    "test_what_is_trained_how_fast_and_in_which_mode_at_every_step[finetune]",
)
def lr_of_a_stage(absence: Absence) -> None:
    absence.of(policies, "_times", lambda lr, factor: lr)


@without("5 no schedule of the stage's own", "test_what_is_trained_how_fast_and_in_which_mode_at_every_step[finetune]")
def own_schedule(absence: Absence) -> None:
    original = StageTrainer.train
    absence.of(StageTrainer, "train", lambda self, **given: original(self, **{**given, "create_scheduler_fn": None}))


@without("6, 7 schedules that run ahead", "test_what_is_trained_how_fast_and_in_which_mode_at_every_step[finetune]")
def schedule_in_step(absence: Absence) -> None:
    original = optimizers.lr_factor
    absence.everywhere(original, lambda choice, step, steps, epochs: original(choice, step + steps, steps, epochs))


@without("8 nothing is frozen", "test_what_is_trained_how_fast_and_in_which_mode_at_every_step[finetune]")
def freeze_all_first(absence: Absence) -> None:
    absence.everywhere(
        freezing.set_trainable,
        lambda network, which: [parameter.requires_grad_(True) for parameter in network.parameters()],
    )


@without(
    "9 batch norms stay trainable",
    "test_a_frozen_backbone_has_no_trainable_parameter_left_over[timm/test_efficientnet]",
)
def freeze_batch_norms(absence: Absence) -> None:
    original = freezing._trained_names

    def wanted(network: nn.Module, which: Any) -> set[str]:
        norms = [n for n, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        own = {name for name, _ in network.named_parameters() if name.rpartition(".")[0] in norms}
        return original(network, which) | own

    absence.of(freezing, "_trained_names", wanted)


@without(
    "10 frozen batch norms drift",
    "test_batch_norms_of_a_frozen_backbone_stay_exactly_where_the_stage_says_eval",
)
def eval_mode(absence: Absence) -> None:
    absence.everywhere(freezing.set_modes, nothing)


@without("11 the best epoch after the stop", "test_the_best_epochs_weights_are_restored_and_its_logits_are_theirs")
def best_epoch(absence: Absence) -> None:
    original = StageTrainer._keep_if_best

    def keep_the_last(self: Any, *given: Any) -> None:
        self.best = None
        original(self, *given)

    absence.of(StageTrainer, "_keep_if_best", keep_the_last)


@without("11 a threshold that ignores gains", "test_a_gain_of_half_a_percent_is_a_gain_for_early_stopping")
def patience_threshold(absence: Absence) -> None:
    original = StageTrainer._count_patience

    def count(self: Any, record: Any) -> None:
        ignored = self.best is not None and record.val_accuracy <= self.best.key[0] + 0.01
        original(self, record.model_copy(update={"val_accuracy": 0.0}) if ignored else record)

    absence.of(StageTrainer, "_count_patience", count)


@without("12 macro for micro", "test_accuracy_is_the_share_of_correct_images_not_the_mean_over_classes")
def micro_average(absence: Absence) -> None:
    absence.everywhere(
        multiclass_accuracy,
        lambda *given, **named: multiclass_accuracy(*given, **{**named, "average": "macro"}),
    )


@without(
    "13 errors in callbacks are swallowed", "test_an_error_in_what_is_called_after_an_epoch_ends_the_run_as_failed"
)
def hooks_not_callbacks(absence: Absence) -> None:
    begin, after_epoch = Trainer.__init__, StageTrainer.training_run_epoch_end

    class AfterEpoch(TrainerCallback):
        def on_training_run_epoch_end(self, trainer: Any, **_: Any) -> None:
            after_epoch(trainer)

    absence.of(Trainer, "__init__", lambda self, *given, **_: begin(self, *given, callbacks=(AfterEpoch(),)))
    absence.of(StageTrainer, "training_run_epoch_end", nothing)


@without("14 NaN", "test_a_loss_that_is_not_finite_ends_the_run_as_diverged")
def diverged(absence: Absence) -> None:
    absence.of(training, "math", SimpleNamespace(isfinite=lambda value: True))


@without("15 best weights overwritten", "test_the_best_epochs_weights_are_restored_and_its_logits_are_theirs")
def best_weights_copied(absence: Absence) -> None:
    original = StageTrainer._keep_if_best

    def keep(self: Any, *given: Any) -> None:
        before = self.best
        original(self, *given)
        if self.best is not before:
            self.best.state = {name: tensor.detach() for name, tensor in self._network.state_dict().items()}

    absence.of(StageTrainer, "_keep_if_best", keep)


@without("15 best weights in the working folder", "test_a_run_writes_nothing_into_the_working_folder")
def best_weights_in_memory(absence: Absence) -> None:
    original = StageTrainer._keep_if_best

    def keep(self: Any, *given: Any) -> None:
        original(self, *given)
        self.save_checkpoint("best_model.pt")

    absence.of(StageTrainer, "_keep_if_best", keep)


@without("16 resume without the optimizer", "test_every_optimizer_and_schedule_goes_on_where_it_was[step-adam]")
def resumed_optimizer(absence: Absence) -> None:
    original = StageTrainer.training_run_start

    def start(self: Any) -> None:
        if self._resumed is not None:
            self._resumed = {**self._resumed, "optimizer": self.optimizer.state_dict()}
        original(self)

    absence.of(StageTrainer, "training_run_start", start)


@without("16 resume without the generators", "test_random_numbers_drawn_in_training_go_on_where_they_were")
def resumed_generators(absence: Absence) -> None:
    absence.of(training, "restore_random_state", nothing)


@without("16 resume without patience", "test_early_stopping_counts_over_an_interruption")
def resumed_patience(absence: Absence) -> None:
    original = StageTrainer.__init__

    def begin(self: Any, *given: Any) -> None:
        original(self, *given)
        self._since_best = 0

    absence.of(StageTrainer, "__init__", begin)


@without("18 one process, one precision", "test_a_run_in_another_precision_does_not_change_the_next_one")
def reset_accelerate(absence: Absence) -> None:
    absence.of(AcceleratorState, "_reset_state", nothing)


@without("21 workers respawned in every epoch", "test_batches_are_made_in_the_process_that_trains")
def no_worker_processes(absence: Absence) -> None:
    absence.everywhere(DataLoader, lambda *given, **named: DataLoader(*given, **{**named, "num_workers": 2}))


def count_losses(absence: Absence, weigh: Callable[[Any, int], Any]) -> None:
    """Sum an epoch's loss in another way."""

    def update(self: Any, batch_loss: Any, batch_size: int) -> None:
        self._loss_sum += weigh(batch_loss, batch_size)
        self._loss_count += batch_size

    absence.of(StageTrainer, "_update_loss_tracker", update)


@without(
    "22 every step waits for the device",
    "test_the_host_reads_no_more_from_the_device_in_an_epoch_of_more_steps",
)
def loss_on_the_device(absence: Absence) -> None:
    count_losses(absence, lambda loss, images: loss.item() * images)


@without("22 the loss of an epoch", "test_the_recorded_training_loss_is_the_mean_over_images")
def loss_over_images(absence: Absence) -> None:
    count_losses(absence, lambda loss, images: loss.detach().double())


@without("folds without groups", "test_a_column_group_keeps_its_images_together_and_makes_them_one_unit")
def folds_by_group(absence: Absence) -> None:
    def alone(labels: Any, groups: Any, count: int, seed: int) -> Any:
        return draw.draw_folds(labels, np.arange(len(groups)), count, seed)

    absence.of(assign, "draw_folds", alone)


@without(
    "a last batch of few images",
    "test_a_last_batch_smaller_than_half_a_batch_or_of_one_image_joins_the_one_before[500-16-sizes0]",
)
def last_batch_joined(absence: Absence) -> None:
    original = EpochBatches.__init__

    def begin(self: Any, images: int, batch_size: int, seed: int) -> None:
        original(self, images, batch_size, seed)
        self._length = -(-images // batch_size)

    absence.of(EpochBatches, "__init__", begin)


@without("24 batches collated once more", "test_prefetched_batches_are_those_that_are_prepared_when_asked_for")
def identity_collate(absence: Absence) -> None:
    absence.everywhere(DataLoader, lambda *given, **named: DataLoader(*given, **{**named, "collate_fn": None}))


@without(
    "timm: stem summed",
    "test_grey_1ch_and_grey_3ch_give_the_same_logits_before_training_on_real_images",
)
def summed_stem(absence: Absence) -> None:
    original = stems.adapt_stem
    absence.everywhere(original, lambda weight, how, mean, std: original(weight, "mean", mean, std))
    absence.everywhere(stems.verify_stem, nothing)


@without("timm: silent random stem", "test_a_stem_that_is_not_the_modes_is_noticed_after_loading")
def stem_verified(absence: Absence) -> None:
    absence.everywhere(stems.verify_stem, nothing)


@without("timm: no stem of three channels", "test_a_first_convolution_that_is_not_three_channelled_is_refused")
def stem_of_three(absence: Absence) -> None:
    def find(network: nn.Module, state: Any, head: set[str], *_: Any) -> list[str]:
        own = network.state_dict()
        different = [name for name in own if name not in head and own[name].shape != state[name].shape]
        return [name.removesuffix(".weight") for name in different]

    absence.everywhere(stems.find_stem, find)


@without("timm: no hub, random weights", "test_a_hub_that_does_not_answer_gives_no_weights")
def never_random(absence: Absence) -> None:
    original = TimmModel.from_hub

    def from_hub(self: Any) -> tuple[Any, str]:
        try:
            return original(self)
        except UserError:
            return self.published().state_dict(), "random"

    absence.of(TimmModel, "from_hub", from_hub)


@without(
    "timm: three means for one channel",
    "test_modes_that_share_a_normalisation_take_the_averages_on_every_channel[grey-1ch]",
)
def one_mean(absence: Absence) -> None:
    absence.of(InputMode, "normalisation", lambda self, mean, std: (mean[: self.channels], std[: self.channels]))


@without("timm: reset_classifier draws", "test_a_new_head_starts_near_the_loss_of_a_guess[none-scratch]")
def head_scheme(absence: Absence) -> None:
    absence.of(
        TimmModel,
        "create",
        lambda self, classes, channels: timm.create_model(self.name, num_classes=classes, in_chans=channels),
    )


@without("timm: RGB into one channel", "test_a_colour_image_cannot_feed_a_network_of_one_channel")
def channels_checked(absence: Absence) -> None:
    original = Normaliser.__call__
    absence.of(Normaliser, "__call__", lambda self, images: original(self, images[:, : self.channels]))


@without("bf16 is slow on a CPU", "test_precision_auto_is_fp32_on_every_cpu[False]")
def auto_precision(absence: Absence) -> None:
    absence.everywhere(devices.resolve_precision, lambda asked, device: "bf16" if asked == "auto" else asked)


@without("features: exact in eval mode only", "test_kept_features_are_not_used_where_they_would_not_be_exact")
def features_where_exact(absence: Absence) -> None:
    original = features.compute_features

    def compute(network: nn.Module, *given: Any) -> Any:
        return original(network.eval(), *given)

    absence.everywhere(original, compute)
    absence.of(Stage, "keeps_features", lambda self, augment: self.trainable == "head")


@without(
    "features: the flip drawn anew",
    "test_a_head_trained_on_kept_features_is_the_one_trained_behind_the_running_backbone[flip-timm/test_resnet]",
)
def features_mirrored(absence: Absence) -> None:
    absence.of(
        features.FeatureImages,
        "__getitems__",
        lambda self, positions: (self._plain[positions], self._labels[positions]),
    )


@without(
    "protocol 2: the head's batch norms switch",
    "test_what_is_frozen_stays_to_the_last_bit_and_what_is_trained_moves[finetune]",
)
def batch_norms_kept(absence: Absence) -> None:
    original = freezing.set_modes

    def switch(network: nn.Module, trainable: Any, batch_norm: Any) -> None:
        original(network, trainable, "train" if trainable == "all" else batch_norm)

    absence.everywhere(original, switch)


@without(
    "protocol 2: the head's weights are lost",
    "test_the_chosen_epoch_is_the_best_of_the_epochs_and_their_starting_point",
)
def starting_point(absence: Absence) -> None:
    original = StageTrainer.training_run_start

    def start(self: Any) -> None:
        original(self)
        if self._resumed is None:
            self.best = None

    absence.of(StageTrainer, "training_run_start", start)


@without(
    "protocol 2: arms of unequal epochs",
    "test_epochs_are_the_same_for_every_policy_and_head_epochs_come_on_top",
)
def equal_epochs(absence: Absence) -> None:
    original = policies._length

    def length(rule: Any, settings: Any) -> int | None:
        return settings.head_epochs if rule.epochs == policies.HEAD_EPOCHS else original(rule, settings)

    absence.of(policies, "_length", length)


@without(
    "three channels or one: the stem's rate",
    "test_grey_3ch_is_grey_1ch_with_three_times_the_stems_rate_and_a_third_of_its_decay[small-adamw]",
)
def stem_lr_factor(absence: Absence) -> None:
    original = optimizers.make_optimizer
    absence.everywhere(
        original,
        lambda network, stage, stem=(): original(network, stage.model_copy(update={"stem_lr_factor": 1.0}), stem),
    )


@without(
    "a rate chosen by test images", "test_a_tuning_run_reads_no_test_image_and_its_record_has_no_test_score[scratch]"
)
def tuning_without_test(absence: Absence) -> None:
    absence.of(RunSpec, "sees_test", property(lambda self: True))


@without(
    "a rate chosen on the seeds that are reported",
    "test_every_rate_is_tried_in_every_cell_with_every_tuning_seed_and_no_other",
)
def seeds_of_their_own(absence: Absence) -> None:
    original = tuning.tuning_runs
    absence.everywhere(original, lambda matrix: original(matrix.model_copy(update={"tune_seeds": matrix.seeds})))


@without(
    "a rate chosen on the images of the fold that is tested",
    "test_under_cross_validation_a_fold_is_chosen_for_on_the_images_outside_of_it",
)
def tuning_outside_of_the_fold(absence: Absence) -> None:
    original = context.load_run_images
    absence.everywhere(original, lambda spec, *given: original(spec.model_copy(update={"trial": None}), *given))


@without(
    "variables of the environment that accelerate, pytorch-accelerated and others take settings from",
    "test_settings_of_libraries_are_shut_out_and_places_and_instructions_are_not",
)
def settings_shut_out(absence: Absence) -> None:
    absence.of(environment, "SETTINGS_OF_LIBRARIES", {})


@without(
    "tifffile: what is missing becomes zeros, and words of 16 bits pass for packed ones",
    "test_twelve_bits_in_words_of_sixteen_that_a_tiff_calls_twelve_are_not_taken_for_packed_ones",
)
def tiff_segments_checked(absence: Absence) -> None:
    absence.of(pixels, "_check_segments", lambda page, content: None)


@without(
    "Pillow: to turn an image, its EXIF data are written anew",
    "test_a_turned_photograph_with_mistyped_exif_is_turned[282-2-72\\x00\\x00-4]",
)
def exif_left_alone(absence: Absence) -> None:
    def turned(image: Image.Image, frames: Any) -> Image.Image:
        image.load()
        return pixels._opaque(ImageOps.exif_transpose(image))

    absence.of(pixels, "_opened", turned)


def run_tests(nodes: Sequence[str], remove: Callable[[Absence], None] | None = None) -> tuple[int, str]:
    """Return pytest's exit code for tests, and its output, in a fork of this process, which never used its libraries.

    Args:
        nodes: of the tests.
        remove: takes a remedy away first.
    """
    with tempfile.TemporaryDirectory(prefix="remedy-") as folder:
        printed = Path(folder) / "printed.txt"
        process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(nodes, remove, printed))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, printed.read_text(encoding="utf-8")


def _run_tests(nodes: Sequence[str], remove: Callable[[Absence], None] | None, printed: Path) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if remove is not None:
        remove(Absence())
    options = ["-q", "-x", "-o", "addopts=", "--assert=plain"]  # addopts needs xdist, which is not loaded
    code = pytest.main([*options, "-p", "pytest_timeout", "-p", "no:cacheprovider", *nodes])
    sys.stdout.flush()
    os._exit(int(code))


def verdict(remedy: Remedy) -> str:
    """Return ``noticed``, or what is wrong with the remedy's test."""
    code, printed = run_tests([remedy.node()], remedy.remove)
    if code == 0:
        return "unnoticed"
    if code != 1 or "error during collection" in printed or "failed" not in printed:
        return f"no verdict: pytest ended with {code}: {printed.strip().splitlines()[-1]}"
    return "noticed"


def main(names: Sequence[str]) -> int:
    """Judge the remedies named, or all; return the exit code."""
    gc.freeze()  # no fork looks through what was loaded before it
    chosen = [remedy for remedy in REMEDIES if not names or remedy.name in names]
    code, printed = run_tests(sorted({remedy.node() for remedy in chosen}))
    if code:
        sys.stdout.write(printed)
        return 1
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as together:
        verdicts = list(together.map(verdict, chosen))
    rows = [(r.trap, r.name, r.test, found) for r, found in zip(chosen, verdicts, strict=True)]
    sys.stdout.write(tabulate(rows, headers=("trap", "remedy", "test", "without it")) + "\n")
    return 0 if set(verdicts) == {"noticed"} else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
