"""Locks of a results folder on a file system that has none."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.records.locks import Claims, folder_locked


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="the file system does not support locks"):
        Claims(tmp_path).claim("a-run")
    with pytest.raises(UserError, match="the file system does not support locks"), folder_locked(tmp_path):
        raise AssertionError("not reached")


def test_a_run_is_claimed_once_until_it_is_given_up(tmp_path: Path) -> None:
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert first.claim("a-run")
    assert not second.claim("a-run")
    first.release("a-run")
    assert second.claim("a-run")
