"""Seeds: frozen values, and no purpose that leans on another."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.seeding import derive_seed

PURPOSES = st.lists(st.text(st.characters(exclude_characters="\x1f", codec="utf-8")) | st.integers(), max_size=4)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("seed", "purpose", "expected"),
    [
        (0, (), 3456079177858693020),
        (0, ("order", 1), 1142075107914471745),
        (1, ("order", 1), 4842980300864627475),
        (4294967295, ("weights", "conv1.weight"), 7259192336174582642),
    ],
)
def test_seeds_keep_the_values_that_records_were_made_with(seed: int, purpose: tuple[str, ...], expected: int) -> None:
    assert derive_seed(seed, *purpose) == expected


def test_a_seed_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from benchmark.seeding import derive_seed; print(derive_seed(3, 'order', 7))"
    for hash_seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed}
        )
        assert int(out.stdout) == derive_seed(3, "order", 7)


@given(SEEDS, SEEDS, PURPOSES, PURPOSES)
def test_two_lists_of_parts_never_share_a_seed(seed: int, other: int, parts: list[str], others: list[str]) -> None:
    same = (seed, parts) == (other, others)
    assert (derive_seed(seed, *parts) == derive_seed(other, *others)) == same


def test_neither_a_number_written_as_text_nor_another_cut_gives_the_same_seed() -> None:
    lists: list[tuple[str | int, ...]] = [("a", 1), ("a", "1"), ("a1",), ("a", "1", ""), ("", "a", "1"), (1, "a")]
    assert len({derive_seed(0, *parts) for parts in lists}) == len(lists)


def test_a_purpose_cannot_imitate_two_by_holding_the_separator() -> None:
    with pytest.raises(ValueError, match="separator"):
        derive_seed(0, "a\x1fstr:b")


def test_numpy_integers_give_the_seed_of_the_number() -> None:
    five, three = cast(int, np.int64(5)), cast(int, np.int32(3))
    assert derive_seed(five, "order", three) == derive_seed(5, "order", 3)


def test_a_number_that_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError):
        derive_seed(0, 0.5)  # type: ignore[arg-type]


@given(SEEDS, PURPOSES)
def test_a_seed_fits_into_63_bits(seed: int, parts: list[str]) -> None:
    assert 0 <= derive_seed(seed, *parts) < 2**63


def test_neighbouring_seeds_share_no_bits_in_particular() -> None:
    seeds = [derive_seed(seed, "order", epoch) for seed in range(40) for epoch in range(40)]
    differing = [(a ^ b).bit_count() for a, b in pairwise(seeds)]
    assert len(set(seeds)) == len(seeds)
    assert 31 < np.mean(differing) < 32
