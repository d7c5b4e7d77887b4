"""`grey-1ch` on one architecture of each of timm's families: adapted exactly or refused, never a silent random stem."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build
from experiments.studies import architecture_sweep as sweep

A_TRAINED_NORM = {"efficientvim_m1": "norm.0.weight", "coat_tiny": "patch_embed4.proj.weight"}
"""Where `freeze-early` trains something that runs beside the frozen half: output norms, and the patch embeddings of a
later scale."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the networks are small: two threads would wait for each other


def adapted_exactly(name: str, folder: Path) -> None:
    row = sweep.examine(name, folder)
    assert not row.refused
    assert row.gap < sweep.EXACT
    assert row.control > 100 * sweep.EXACT, "an image whose blue is forgotten must be seen in the logits"
    assert row.blocks >= 2
    assert row.early == A_TRAINED_NORM.get(name, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep.SMALL)
def test_a_summed_stem_gives_the_logits_of_the_three_channels_it_came_from(name: str, tmp_path: Path) -> None:
    adapted_exactly(name, tmp_path)


@pytest.mark.stress
@pytest.mark.parametrize("name", sweep.LARGE)
def test_so_it_does_in_the_families_whose_smallest_member_is_large(name: str, tmp_path: Path) -> None:
    adapted_exactly(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep.REFUSED)
def test_what_cannot_be_adapted_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    assert re.search(sweep.REFUSED[name], sweep.examine(name, tmp_path).refused)


@pytest.mark.slow
def test_three_channels_reach_a_stem_that_folds_pixels_into_channels(tmp_path: Path) -> None:
    source = sweep.write_checkpoint("tresnet_m", sweep.SMALL_IMAGES, tmp_path)
    built = build.build(
        "timm/tresnet_m", INPUT_MODES["grey-3ch"], classes=3, source=source, seed=0, image_size=sweep.SMALL_IMAGES
    )
    assert built.stem == "body.conv1.conv"


def test_the_sweep_is_wide_enough() -> None:
    modules = {timm.models.model_entrypoint(name).__module__ for name in (*sweep.SMALL, *sweep.REFUSED)}
    assert len(modules) == len(sweep.SMALL) + len(sweep.REFUSED) >= 40
    assert len(sweep.SMALL) >= 35
