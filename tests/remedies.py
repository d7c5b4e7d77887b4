"""The library traps that touch this project, the remedy of each, and proof that its test sees the remedy go.

    python -m tests.remedies [NAME…]

copies the package into a temporary folder, takes one remedy away there (a text replaced by another), and runs the
remedy's own test on the copy: it must pass before and fail after, by an assertion or an error inside the test. It
prints a table and exits with 1 where a removal goes unnoticed.

Numbers are those of the project's list of traps. Those that are not in the table do not touch us, because what they are
about is not used: functions that seed workers (2; there are none, see 21), ``evaluate()`` (17), clipping (19), several
processes a run (20), EMA and ``run_config`` (23); timm's ``checkpoint_path=`` and overlays.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tabulate import tabulate

import benchmark.runs  # noqa: F401 - the libraries behind it are loaded once, for every fork
import tests.synthetic  # noqa: F401 - as above

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Remedy:
    """One remedy.

    Attributes:
        trap: its number in the list, or what it is about.
        name: for the command line.
        file: below ``benchmark/``.
        edits: texts that stand there exactly once, and what stands there without the remedy; several where one guard
            stands behind another.
        test: the node id, below ``tests/``, of the test that guards it.
    """

    trap: str
    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    test: str


REMEDIES = (
    Remedy(
        "1 the library seeds with 42",
        "seed-of-training",
        "training.py",
        (
            (
                'torch.manual_seed(derive_seed(self._spec.seed, "training", self._stage_number))\n',
                "pass\n",
            ),
        ),
        "test_training.py::test_training_randomness_is_seeded_by_the_run_and_not_by_the_librarys_42",
    ),
    Remedy(
        "1 seed before the model",
        "seed-of-weights",
        "initialisation.py",
        (
            (
                'torch.manual_seed(derive_seed(self.seed, "weights", key, self.draws[key]))',
                "pass",
            ),
        ),
        "test_models.py::test_a_seed_gives_the_same_head_in_every_input_mode_and_another_seed_another",
    ),
    Remedy(
        "3 a second stage is shortened",
        "epochs-over-stages",
        "training.py",
        (
            (
                "self._epochs_before = len(progress.history)",
                "self._epochs_before = 0",
            ),
        ),
        "test_training.py::test_epochs_are_counted_over_all_stages",
    ),
    Remedy(
        "4 the new learning rate is ignored",
        "lr-of-a-stage",
        "policies.py",
        (
            (
                "lr=_times(settings.lr, rule.lr_factor),",
                "lr=settings.lr,",
            ),
        ),
        "test_training.py::test_the_second_stage_of_finetune_really_starts_at_a_tenth_of_the_learning_rate",
    ),
    Remedy(
        "5 no schedule of the stage's own",
        "own-schedule",
        "training.py",
        (
            (
                "                create_scheduler_fn=self._make_scheduler,\n",
                "",
            ),
        ),
        "test_training.py::test_the_learning_rate_applied_follows_the_cosine_to_zero_at_every_step",
    ),
    Remedy(
        "6, 7 schedules that run ahead",
        "schedule-in-step",
        "optimizers.py",
        (
            (
                "lambda step: lr_factor(stage.scheduler, step, steps_per_epoch, stage.epochs)",
                "lambda step: lr_factor(stage.scheduler, step + steps_per_epoch, steps_per_epoch, stage.epochs)",
            ),
        ),
        "test_training.py::test_the_learning_rate_applied_follows_the_cosine_to_zero_at_every_step",
    ),
    Remedy(
        "8 nothing is frozen",
        "freeze-all-first",
        "freezing.py",
        (
            (
                "        parameter.requires_grad_(name in wanted)\n",
                "        parameter.requires_grad_(True)\n",
            ),
        ),
        "test_training.py::test_each_stage_optimizes_exactly_its_trainable_parameters",
    ),
    Remedy(
        "9 batch norms stay trainable",
        "freeze-batch-norms",
        "freezing.py",
        (
            (
                "        return set(head_parameters(network))\n",
                "        return set(head_parameters(network)) | {\n"
                '            f"{name}.{own}"\n'
                "            for name, module in network.named_modules()\n"
                "            if isinstance(module, nn.modules.batchnorm._NormBase)\n"
                "            for own, _ in module.named_parameters(recurse=False)\n"
                "        }\n",
            ),
        ),
        "test_training.py::test_a_frozen_backbone_has_no_trainable_parameter_left_over[timm/test_efficientnet]",
    ),
    Remedy(
        "10 frozen batch norms drift",
        "eval-mode",
        "training.py",
        (
            (
                "        set_modes(self._network, self._stage.trainable, self._stage.batch_norm)\n        self._order",
                "        self._order",
            ),
        ),
        "test_training.py::test_batch_norms_of_a_frozen_backbone_stay_exactly_where_the_stage_says_eval",
    ),
    Remedy(
        "11 the best epoch after the stop",
        "best-epoch",
        "training.py",
        (
            (
                "if self.best is None or key > self.best.key:",
                "if True:",
            ),
        ),
        "test_training.py::test_the_best_epochs_weights_are_restored_and_its_logits_are_theirs",
    ),
    Remedy(
        "11 a threshold that ignores gains",
        "patience-threshold",
        "training.py",
        (
            (
                "if record.val_accuracy > self._best_accuracy:",
                "if record.val_accuracy > self._best_accuracy + 0.01:",
            ),
        ),
        "test_training.py::test_a_gain_of_half_a_percent_is_a_gain_for_early_stopping",
    ),
    Remedy(
        "12 macro for micro",
        "micro-average",
        "metrics.py",
        (
            (
                'num_classes=logits.shape[1], average="micro", validate_args=False)\n    return round',
                'num_classes=logits.shape[1], average="macro", validate_args=False)\n    return round',
            ),
        ),
        "test_metrics.py::test_accuracy_is_the_share_of_correct_images_not_the_mean_over_classes",
    ),
    Remedy(
        "13 errors in callbacks are swallowed",
        "hooks-not-callbacks",
        "training.py",
        (
            (
                "import StopTrainingError\n",
                "import StopTrainingError, TrainerCallback\n",
            ),
            (
                "class StageTrainer(Trainer):\n",
                "class Told(TrainerCallback):\n"
                "    def on_training_run_epoch_end(self, trainer, **kwargs):\n"
                "        trainer.after_epoch()\n\n\n"
                "class StageTrainer(Trainer):\n",
            ),
            (
                "callbacks=())",
                "callbacks=(Told(),))",
            ),
            (
                "    def training_run_epoch_end(self) -> None:\n",
                "    def after_epoch(self) -> None:\n",
            ),
        ),
        "test_runs.py::test_an_error_in_what_is_called_after_an_epoch_ends_the_run_as_failed",
    ),
    Remedy(
        "14 NaN",
        "diverged",
        "training.py",
        (
            (
                "        if not math.isfinite(loss):\n"
                '            raise Diverged(f"the training loss is {loss} in epoch {self._epoch}")\n',
                "",
            ),
            (
                "        if not math.isfinite(record.val_loss):\n"
                '            raise Diverged(f"the validation loss is {record.val_loss} in epoch {self._epoch}")\n',
                "",
            ),
        ),
        "test_training.py::test_a_loss_that_is_not_finite_ends_the_run_as_diverged",
    ),
    Remedy(
        "15 best weights overwritten",
        "best-weights-copied",
        "training.py",
        (
            (
                "state = {name: tensor.detach().clone() for",
                "state = {name: tensor.detach() for",
            ),
        ),
        "test_training.py::test_the_best_epochs_weights_are_restored_and_its_logits_are_theirs",
    ),
    Remedy(
        "15 best weights in the working folder",
        "best-weights-in-memory",
        "training.py",
        (
            (
                "self.best = Best(record.epoch, key, state, validation, test)\n",
                "self.best = Best(record.epoch, key, state, validation, test)\n"
                '            self.save_checkpoint("best_model.pt")\n',
            ),
        ),
        "test_runs.py::test_a_run_writes_nothing_into_the_working_folder",
    ),
    Remedy(
        "16 resume without the optimizer",
        "resumed-optimizer",
        "training.py",
        (
            (
                '        self.optimizer.load_state_dict(self._resumed["optimizer"])\n',
                "",
            ),
        ),
        "test_checkpoints.py::test_every_optimizer_and_schedule_goes_on_where_it_was[step-adam]",
    ),
    Remedy(
        "16 resume without the generators",
        "resumed-generators",
        "training.py",
        (
            (
                '        restore_random_state(self._resumed["random"])\n',
                "",
            ),
        ),
        "test_checkpoints.py::test_random_numbers_drawn_in_training_go_on_where_they_were",
    ),
    Remedy(
        "16 resume without patience",
        "resumed-patience",
        "training.py",
        (
            (
                'self._since_best = resumed["since_best"] if resumed else 0',
                "self._since_best = 0",
            ),
        ),
        "test_checkpoints.py::test_early_stopping_counts_over_an_interruption",
    ),
    Remedy(
        "18 one process, one precision",
        "reset-accelerate",
        "isolation.py",
        (
            (
                "    AcceleratorState._reset_state(reset_partial_state=True)\n",
                "",
            ),
        ),
        "test_training.py::test_a_run_in_another_precision_does_not_change_the_next_one",
    ),
    Remedy(
        "21 workers respawned in every epoch",
        "no-worker-processes",
        "prefetch.py",
        (
            (
                "        num_workers=0,\n",
                "        num_workers=2,\n",
            ),
        ),
        "test_prefetch.py::test_batches_are_made_in_the_process_that_trains",
    ),
    Remedy(
        "22 every step waits for the device",
        "loss-on-the-device",
        "training.py",
        (
            (
                "self._loss_sum += batch_loss.detach().double() * batch_size",
                "self._loss_sum += batch_loss.item() * batch_size",
            ),
        ),
        "test_training.py::test_the_host_reads_no_more_from_the_device_in_an_epoch_of_more_steps",
    ),
    Remedy(
        "22 the loss of an epoch",
        "loss-over-images",
        "training.py",
        (
            (
                "self._loss_sum += batch_loss.detach().double() * batch_size",
                "self._loss_sum += batch_loss.detach().double()",
            ),
        ),
        "test_training.py::test_the_recorded_training_loss_is_the_mean_over_images",
    ),
    Remedy(
        "24 batches collated once more",
        "identity-collate",
        "prefetch.py",
        (
            (
                "        collate_fn=_as_it_is,\n",
                "",
            ),
        ),
        "test_prefetch.py::test_prefetched_batches_are_those_that_are_prepared_when_asked_for",
    ),
    Remedy(
        "timm: stem summed",
        "summed-stem",
        "stems.py",
        (
            (
                'return (total / 3 if how == "mean" else total).to(weight.dtype)',
                "return (total / 3).to(weight.dtype)",
            ),
        ),
        "test_models.py::test_grey_1ch_and_grey_3ch_give_the_same_logits_before_training_on_real_images",
    ),
    Remedy(
        "timm: silent random stem",
        "stem-verified",
        "stems.py",
        (
            (
                "        torch.testing.assert_close(layer.weight, expected, rtol=1e-4, atol=1e-6)\n",
                "",
            ),
        ),
        "test_stems.py::test_a_stem_that_is_not_the_modes_is_noticed_after_loading",
    ),
    Remedy(
        "timm: no stem of three channels",
        "stem-of-three",
        "stems.py",
        (
            (
                "    if strange or not different:\n",
                "    if False:\n",
            ),
        ),
        "test_models.py::test_a_first_convolution_that_is_not_three_channelled_is_refused",
    ),
    Remedy(
        "timm: no hub, random weights",
        "never-random",
        "architectures/timm_models.py",
        (
            (
                '            where = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")\n',
                '            return random_state, "random"\n',
            ),
        ),
        "test_weights_from_the_hub.py::test_a_hub_that_does_not_answer_gives_no_weights",
    ),
    Remedy(
        "timm: three means for one channel",
        "one-mean",
        "inputs.py",
        (
            (
                "return (average(mean),) * self.channels, (average(std),) * self.channels",
                "return tuple(mean)[: self.channels], tuple(std)[: self.channels]",
            ),
        ),
        "test_inputs.py::test_the_mean_and_std_of_one_channel_are_the_averages_of_the_three",
    ),
    Remedy(
        "timm: reset_classifier draws",
        "head-scheme",
        "architectures/timm_models.py",
        (
            (
                "        cast(Any, network).reset_classifier(classes)\n",
                "",
            ),
        ),
        "test_models.py::test_a_new_head_starts_near_the_loss_of_a_guess[none-scratch]",
    ),
    Remedy(
        "timm: RGB into one channel",
        "channels-checked",
        "batches.py",
        (
            (
                "        if stored not in (1, self.channels):\n"
                '            raise ValueError(f"images of {stored} channels cannot feed a network of {self.channels}")\n',  # noqa: E501 - the line as it stands
                "",
            ),
        ),
        "test_inputs.py::test_a_colour_image_cannot_feed_a_network_of_one_channel",
    ),
    Remedy(
        "bf16 is slow on a CPU",
        "auto-precision",
        "runs.py",
        (
            (
                '        return "fp32"\n    return "bf16"',
                '        return "bf16"\n    return "bf16"',
            ),
        ),
        "test_runs.py::test_precision_auto_is_fp32_on_a_cpu",
    ),
    Remedy(
        "features: exact in eval mode only",
        "features-where-exact",
        "features.py",
        (
            (
                'stage.trainable == "head" and stage.batch_norm == "eval" and all(',
                'stage.trainable == "head" and all(',
            ),
            (
                "        if not torch.equal(features, in_its_stage) or not torch.equal(head(features), logits):\n"
                "            return None\n",
                "",
            ),
        ),
        "test_features.py::test_kept_features_are_not_used_where_they_would_not_be_exact",
    ),
    Remedy(
        "features: the flip drawn anew",
        "features-mirrored",
        "features.py",
        (
            (
                "return self._both[self._chosen[where].long(), where], self._labels[where]",
                "return self._plain[where], self._labels[where]",
            ),
        ),
        "test_features.py::test_a_head_trained_on_kept_features_is_the_one_trained_behind_the_running_backbone[flip-timm/test_resnet]",
    ),
)


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Return pytest's exit code for tests against the package in ``folder``, and what it printed.

    In a fork of this process, which has the libraries loaded and never used them.
    """
    printed = folder / "printed.txt"
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(folder, tests, printed))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, printed.read_text(encoding="utf-8")


def _run_tests(folder: Path, tests: Sequence[str], printed: Path) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    for name in [name for name in sys.modules if name.partition(".")[0] in {"benchmark", "tests"}]:
        del sys.modules[name]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-q", "-x", "--assert=plain", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    code = pytest.main([*options, *(str(folder / "tests" / test) for test in tests)])
    import benchmark

    here = Path(benchmark.__file__).is_relative_to(folder)
    sys.stdout.flush()
    os._exit(int(code) if here else 99)


def copied(folder: Path) -> Path:
    """Return a folder with copies of what the tests need."""
    for name in ("benchmark", "tests", "experiments"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    return folder


def without(remedy: Remedy, folder: Path) -> None:
    """Take a remedy out of a copy.

    Raises:
        ValueError: its text is not there exactly once.
    """
    path = folder / "benchmark" / remedy.file
    text = path.read_text(encoding="utf-8")
    for present, absent in remedy.edits:
        if text.count(present) != 1:
            raise ValueError(f"{remedy.name}: {present!r} stands {text.count(present)} times in {remedy.file}")
        text = text.replace(present, absent)
    path.write_text(text, encoding="utf-8")


def verdict(remedy: Remedy) -> str:
    """Return ``noticed``, or what is wrong with the remedy's test."""
    with tempfile.TemporaryDirectory(prefix="remedy-") as name:
        folder = copied(Path(name))
        try:
            without(remedy, folder)
        except ValueError as error:
            return str(error)
        code, printed = run_tests(folder, [remedy.test])
    if code == 0:
        return "unnoticed"
    if code != 1 or "error during collection" in printed or "failed" not in printed:
        return f"no verdict: pytest ended with {code}: {printed.strip().splitlines()[-1]}"
    return "noticed"


def whole(remedies: Sequence[Remedy]) -> str | None:
    """Run the remedies' tests on an unchanged copy; return what failed, None where all pass."""
    tests = sorted({remedy.test for remedy in remedies})
    with tempfile.TemporaryDirectory(prefix="remedy-") as name:
        code, printed = run_tests(copied(Path(name)), tests)
    return None if code == 0 else printed


def judged(remedies: Sequence[Remedy]) -> Iterator[tuple[Remedy, str]]:
    """Yield each remedy with its verdict, in order."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as together:
        yield from zip(remedies, together.map(verdict, remedies), strict=True)


def main(names: Sequence[str]) -> int:
    """Judge the remedies named, or all; return the exit code."""
    gc.freeze()  # no fork looks through what was loaded before it
    chosen = [remedy for remedy in REMEDIES if not names or remedy.name in names]
    failed = whole(chosen)
    if failed is not None:
        sys.stdout.write(failed)
        return 1
    rows = [(remedy.trap, remedy.name, remedy.test.split("::")[1], told) for remedy, told in judged(chosen)]
    sys.stdout.write(tabulate(rows, headers=("trap", "remedy", "test", "without it")) + "\n")
    return 0 if all(row[-1] == "noticed" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
