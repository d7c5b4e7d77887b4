from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.matrix import expand
from benchmark.weights_identity import with_weights_identified
from tests.matrices import matrix


def named(weights: str) -> str:
    return with_weights_identified(matrix(policies=["finetune-whole"], weights=weights), verify=True).weights


def test_a_weights_file_gets_the_hash_of_its_content(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert named(f"file:{file}") == f"file:{file}#sha256={digest}"
    assert named(f"file:{file}#sha256={digest}") == f"file:{file}#sha256={digest}"
    assert named("hub") == "hub"


def test_runs_are_named_by_the_content_of_their_weights_file(tmp_path: Path) -> None:
    ids = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("a.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        made = matrix(policies=["finetune-whole"], weights=f"file:{tmp_path / name}")
        (run,) = expand(with_weights_identified(made))
        ids.append(run.id)
    assert ids[0] == ids[1] != ids[2]


def test_another_content_under_the_same_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    file.write_bytes(b"weights")
    before = named(f"file:{file}")
    file.write_bytes(b"others")
    with pytest.raises(UserError, match="not the file that the matrix names"):
        named(before)


def test_a_missing_weights_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth cannot be read \(No such file"):
        named(f"file:{tmp_path / 'none.pth'}")
