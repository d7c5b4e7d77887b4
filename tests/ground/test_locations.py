"""Folders of datasets and caches, with and without a known home folder."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from benchmark.errors import UserError
from benchmark.locations import cache_directory, data_directory, expand_home


def test_a_folder_is_the_given_one_else_the_variables_else_the_platforms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCHMARK_DATA_DIR", str(tmp_path / "named"))
    assert data_directory(tmp_path) == tmp_path
    assert data_directory(None) == tmp_path / "named"
    monkeypatch.delenv("BENCHMARK_DATA_DIR")
    assert data_directory(None).is_absolute()


@pytest.mark.parametrize("knows", [True, False])
def test_without_a_home_folder_nothing_is_written_to_a_folder_called_tilde(
    knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(*given: object, **options: object) -> str:
        if knows:
            raise RuntimeError("could not determine the home directory")
        return "~/.cache/application"

    monkeypatch.delenv("BENCHMARK_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", folder)
    with pytest.raises(UserError, match=r"the home folder is unknown .* Set BENCHMARK_CACHE_DIR to a folder"):
        cache_directory()


def test_the_home_of_an_unknown_user_is_named() -> None:
    with pytest.raises(UserError, match="~no-such-user/images: the home folder is unknown"):
        expand_home(Path("~no-such-user/images"))
