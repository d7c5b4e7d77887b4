"""Policies that a matrix defines from stages: what is refused, and where the message points."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix

TEXT = """\
name: mine
models: [timm/test_resnet]
weights: none
datasets: [beans]
input_modes: [rgb]
policies: [thaw]
seeds: [0]
training: {epochs: 10, lr: 1.0e-3}
own_policies:
  thaw:
    pretrained: true
    summary: the head, then everything, slower
    stages:
      - {trainable: head, share: 0.3, batch_norm: eval, optimizer: {sgd: {momentum: 0.9}}}
      - {trainable: all, lr_factor: 0.1, scheduler: {step: {size: 2, gamma: 0.5}}}
"""


def load(folder: Path, old: str = "", new: str = "") -> Matrix:
    assert old in TEXT
    path = folder / "mine.yaml"
    path.write_text(TEXT.replace(old, new, 1) if old else TEXT)
    return file.load(path)


def test_stages_in_yaml_become_the_stages_of_the_runs(tmp_path: Path) -> None:
    (run,) = expand(load(tmp_path))
    head, everything = run.stages
    assert (head.trainable, head.epochs, head.lr, head.batch_norm) == ("head", 3, 1e-3, "eval")
    assert (str(head.optimizer), str(head.scheduler)) == ("sgd (momentum 0.9)", "cosine")
    assert (everything.trainable, everything.epochs, everything.lr, everything.batch_norm) == ("all", 7, 1e-4, "train")
    assert (everything.optimizer.name, str(everything.scheduler)) == ("adamw", "step (size 2, gamma 0.5)")


MISTAKES = [
    (
        "trainable: head",
        "trainable: heads",
        14,
        "thaw.stages.0.trainable: \"heads\" is not accepted. Did you mean 'head'",
    ),
    ("trainable: head, ", "", 14, "key 'own_policies.thaw.stages.0.trainable' is missing"),
    ("share: 0.3", "share: 1.5", 14, "thaw.stages.0.share: must be below 1 (it is 1.5)"),
    ("share: 0.3", "share: 0.3, epochs: 2", 14, "a stage has epochs or a share of them, not both"),
    ("share: 0.3", "shares: 0.3", 14, "unknown key 'own_policies.thaw.stages.0.shares'. Did you mean 'share'"),
    ("share: 0.3", "epochs: 0", 14, "0 is not a number of epochs: write a whole number from 1 on, or head_epochs"),
    ("share: 0.3", "epochs: 10", 8, "training.epochs (10) is too few for the stages of policy 'thaw', which need 11"),
    ("share: 0.3, ", "", 10, "only one stage can take all epochs that are left"),
    ("batch_norm: eval", "batch_norm: frozen", 14, '"frozen" is not accepted. Known: eval, eval-where-frozen, train'),
    ("{sgd: {momentum: 0.9}}", "sgd", 14, "sgd needs momentum: write {sgd: {momentum: …}}"),
    (
        "{sgd: {momentum: 0.9}}",
        "{sgd: {momentum: 1.9}}",
        14,
        "sgd.momentum: 1.9 is not in 0 … 1, 1 excluded",
    ),
    ("{sgd: {momentum: 0.9}}", "adamx", 14, "thaw.stages.0.optimizer: unknown optimizer 'adamx'. Did you mean 'adam'"),
    ("lr_factor: 0.1", "lr_factor: -1", 15, "thaw.stages.1.lr_factor: must be above 0 (it is -1)"),
    ("{step: {size: 2, gamma: 0.5}}", "step", 15, "step needs size: write {step: {size: …, gamma: …}}"),
    ("{step: {size: 2, gamma: 0.5}}", "cosin", 15, "unknown schedule 'cosin'. Did you mean 'cosine'"),
    ("{step: {size: 2, gamma: 0.5}}", "{cosine: {gamma: 1.0}}", 15, "cosine: unknown parameter 'gamma'"),
    ("    pretrained: true\n", "", 10, "key 'own_policies.thaw.pretrained' is missing"),
    ("  thaw:", "  finetune:", 10, "'finetune' is known already; give yours another name"),
    ("policies: [thaw]", "policies: [thow]", 6, "unknown policy 'thow'. Did you mean 'thaw'"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES, ids=[new or old for old, new, _, _ in MISTAKES])
def test_a_mistake_in_a_policy_is_told_once_with_its_line(
    old: str, new: str, line: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, old, new)
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:{line}: ")
    assert message in told
