from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.records.selection import select
from tests import factories


def write(folder: Path, **changes: object) -> str:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**factories.SMALL, **changes}))
    return str(path)


POLICIES = ["finetune-bn-switch", "finetune-whole", "scratch"]
"""The first needs two epochs."""


@pytest.mark.parametrize("asked", ["finetune-whole", "scratch"])
def test_a_setting_that_only_a_policy_not_asked_for_cannot_take_leaves_it_out_and_says_why(
    asked: str, tmp_path: Path
) -> None:
    matrix = write(tmp_path, policies=POLICIES, weights="hub")
    one_epoch = ["training.epochs=1"]
    with pytest.raises(UserError, match="too few for the stages of policy 'finetune-bn-switch'"):
        select(matrix, one_epoch, None, None, tmp_path)
    selection = select(matrix, one_epoch, [f"policy={asked}"], None, tmp_path)
    assert [run.spec.policy for run in selection.selected] == [asked]
    assert selection.matrix.policies == ("finetune-whole", "scratch"), "whatever is asked for, the others are kept"
    (line,) = selection.remarks()
    assert line.startswith(
        "left out: policy finetune-bn-switch, which --only does not select: --set training.epochs=1: "
    )
    assert "which need 2" in line
    kept = tmp_path / "kept.yaml"
    kept.write_text(file.dump(selection.matrix))
    assert file.load(kept) == selection.matrix, "the matrix file of the results can be read again"


@pytest.mark.parametrize(
    ("changes", "overrides", "asked", "left"),
    [
        (
            {"input_modes": ["rgb", "grey-1ch"]},
            ["training.augment=[{hue: {turns: 0.1}}]"],
            "input_mode=rgb",
            "input_mode grey-1ch",
        ),
        ({"training": {"image_size": [32, 64]}}, ["training.crop_size=48"], "image_size=64", "image_size 32"),
    ],
)
def test_so_do_settings_that_an_input_mode_or_an_image_size_cannot_take(
    changes: dict[str, object], overrides: list[str], asked: str, left: str, tmp_path: Path
) -> None:
    matrix = write(tmp_path, **changes)
    with pytest.raises(UserError):
        select(matrix, overrides, None, None, tmp_path)
    selection = select(matrix, overrides, [asked], None, tmp_path)
    assert len(selection.selected) == 1
    (line,) = selection.remarks()
    assert line.startswith(f"left out: {left}, ")


def test_what_is_asked_for_and_cannot_be_taken_is_refused_and_so_is_a_wrong_word_wherever_it_is(tmp_path: Path) -> None:
    matrix = write(tmp_path, policies=POLICIES, weights="hub")
    with pytest.raises(UserError, match="too few for the stages"):
        select(matrix, ["training.epochs=1"], ["policy=finetune-bn-switch"], None, tmp_path)
    with pytest.raises(UserError, match="too few for the stages"):
        select(matrix, ["training.epochs=1"], ["policy=scrach"], None, tmp_path)
    misspelt = write(tmp_path, policies=["finetun", "scratch"])
    with pytest.raises(UserError, match="Did you mean 'finetune'"):
        select(misspelt, [], ["policy=scratch"], None, tmp_path)
