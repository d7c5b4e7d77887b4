"""The window of a folder's deep files: right by what they state and hold, or refused with both readings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data.catalogue import SplitName
from benchmark.data.decoding.window import EIGHT_BITS, Pools, Values, bits_of, count, find_windows, levels, merge
from benchmark.data.value_range import Bits, Percentile, ValueRange, Window
from benchmark.errors import UserError

Array = np.ndarray[Any, Any]
HOLDS: dict[str, Window | None] = {
    "16-bit": (0, 65535),
    "signed 16-bit": (-32768, 32767),
    "32-bit": (0, 4294967295),
    "float": None,
    "dicom": (0, 65535),
}


def ramp(largest: float, side: int = 40, kind: Any = np.uint16) -> Array:
    return np.linspace(0, largest, side * side).reshape(side, side).round().astype(kind)


def windows(
    files: Sequence[tuple[str, Array]],
    value_range: ValueRange = "auto",
    *,
    container: str = "16-bit",
    holds: Window | None = None,
    stated: Sequence[Window | None] | None = None,
    tests: Sequence[int] = (),
) -> dict[str, Window]:
    """Return the windows of files of one container, given by (class, values)."""
    pools, found = Pools(), []
    splits: tuple[SplitName | None, ...] = ("train", "test") if tests else (None,)
    for place, (label, values) in enumerate(files):
        given_range = stated[place] if stated else None
        low, high = float(values.min()), float(values.max())
        held = holds or HOLDS[container]
        found.append(Values(f"{place}.png", label, splits[place in tests], container, held, given_range, low, high))
        if place not in tests:
            pools.add(container, count(values))
    return find_windows(found, pools.merged(), value_range, "folder:cells")


def both(values: Array) -> list[tuple[str, Array]]:
    return [("a", values), ("b", values[::-1])]


@pytest.mark.parametrize(
    ("bits", "expected"), [(7, 8), (8, 8), (9, 10), (10, 10), (12, 12), (13, 14), (14, 14), (16, 16)]
)
def test_white_is_the_largest_value_of_the_smallest_usual_depth_that_holds_all(bits: int, expected: int) -> None:
    assert windows(both(ramp(2**bits - 1))) == {"16-bit": (0, 2**expected - 1)}


@given(st.integers(1, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_a_window_holds_all_values_and_no_much_smaller_one_would_or_they_are_refused(
    span: int, start: int, seed: int
) -> None:
    values = (start + np.random.default_rng(seed).integers(0, span, (20, 20))).clip(0, 65535).astype(np.uint16)
    try:
        ((low, high),) = windows(both(values)).values()
    except UserError:
        assert span < 65535, "values of all sizes are clear"
        return
    assert low == 0
    assert max(values.max(), 255) <= high <= max(4 * int(values.max()) + 3, 1023)
    assert len(np.unique(values)) < 64 or levels(count(values), (low, high)) >= 64


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_values_at_the_upper_end_of_16_bits_fill_the_container_even_where_few_are_bright(bits: int) -> None:
    shifted = ramp(2**bits - 1) << (16 - bits)
    assert windows(both(shifted)) == {"16-bit": (0, 65535)}
    dark = ramp(2 ** (bits - 2) - 1) << (16 - bits)
    dark[0, 0] = shifted.max()
    assert windows(both(dark)) == {"16-bit": (0, 65535)}


def test_values_of_8_bits_times_257_fill_the_container_however_dark() -> None:
    assert windows(both(ramp(50) * np.uint16(257))) == {"16-bit": (0, 65535)}


def test_one_saturated_pixel_is_no_depth_and_both_readings_are_named() -> None:
    values = ramp(4095)
    values[3, 3] = 65535
    with pytest.raises(UserError, match="folder:cells: 16-bit files") as error:
        windows([("a", ramp(4095)), ("b", values)])
    for words in ("need 12 bits", "65535 in 1.png, needs 16", "{bits: 12}", "{bits: 16}", "datasets.value_range="):
        assert words in str(error.value)
    assert windows([("a", ramp(4095)), ("b", values)], Bits(bits=12)) == {"16-bit": (0, 4095)}
    assert windows([("a", ramp(4095)), ("b", values)], "container") == {"16-bit": (0, 65535)}


def test_classes_of_different_depths_are_refused_and_a_test_split_of_fewer_bits_too() -> None:
    with pytest.raises(UserError, match=r"the test split needs 10 bits \(up to 1023\) and .* 12 \(up to 4095\)"):
        windows([*both(ramp(4095)), *both(ramp(1023))], tests=[2, 3])
    with pytest.raises(UserError, match=re.escape("class a needs 10 bits (up to 1023) and class b 12 (up to 4095)")):
        windows([("a", ramp(1023)), ("b", ramp(4095))])
    assert windows([("a", ramp(1023)), ("b", ramp(4095))], Bits(bits=12)) == {"16-bit": (0, 4095)}


def test_a_type_of_file_that_tells_the_class_is_refused_and_a_mixture_in_every_class_is_not() -> None:
    def found(*files: tuple[str, str]) -> dict[str, Window]:
        values = [
            Values(f"{k}.png", label, None, container, (0, 65535), None, 0, 4095 if container == "16-bit" else 255)
            for k, (label, container) in enumerate(files)
        ]
        return find_windows(values, {"16-bit": count(ramp(4095))}, "auto", "folder:cells")

    with pytest.raises(UserError, match="class a are 16-bit, those of class b are 8-bit"):
        found(("a", "16-bit"), ("b", EIGHT_BITS))
    assert found(("a", "16-bit"), ("b", EIGHT_BITS), ("a", EIGHT_BITS)) == {"16-bit": (0, 4095)}
    assert found(("a", EIGHT_BITS), ("b", EIGHT_BITS)) == {}


def test_values_in_a_narrow_band_would_leave_too_few_levels_which_is_refused() -> None:
    thermal = (ramp(1000) + 28000).astype(np.uint16)
    with pytest.raises(UserError, match=r"5 grey levels would be left in a window of 0 to 65535") as error:
        windows(both(thermal))
    assert "`value_range: [28000, 29000]`" in str(error.value)
    assert "percentile: [1, 99]" in str(error.value)
    assert windows(both(thermal), (28000, 29000)) == {"16-bit": (28000, 29000)}
    assert windows(both(thermal), Bits(bits=16)) == {"16-bit": (0, 65535)}
    with pytest.raises(UserError, match="1 grey level would be left"):
        windows(both(thermal), Bits(bits=12))


def test_sources_of_few_values_are_no_loss_of_levels() -> None:
    assert windows(both(np.zeros((9, 9), np.uint16))) == {"16-bit": (0, 255)}
    assert windows(both(np.array([[0, 65535]], np.uint16))) == {"16-bit": (0, 65535)}
    assert windows(both(np.arange(60, dtype=np.uint16)[None] * 17)) == {"16-bit": (0, 1023)}


def test_a_stated_range_is_the_window_and_two_of_them_are_refused() -> None:
    assert windows(both(ramp(1020)), stated=[(0, 4095)] * 2) == {"16-bit": (0, 4095)}
    assert windows(both(ramp(1020)), stated=[(0, 1023), None]) == {"16-bit": (0, 1023)}
    with pytest.raises(UserError, match=re.escape("0 to 1023 (0.png) and 0 to 4095 (1.png)")):
        windows(both(ramp(1020)), stated=[(0, 1023), (0, 4095)])
    with pytest.raises(UserError, match=r"0 to 1023 \(0.png\)"):
        windows(both(ramp(1020)), stated=[(0, 1023), (0, 4095)], tests=[1])
    with pytest.raises(UserError, match=r"0.png states values of 0 to 4095, 1.png states none.*need 0 to 1023"):
        windows(both(ramp(1020)), stated=[(0, 4095), None])


def test_values_of_the_own_test_split_decide_nothing() -> None:
    files = [("a", ramp(1023)), ("b", ramp(1000)), ("a", ramp(60000)), ("b", ramp(1023))]
    assert windows(files, tests=[2, 3]) == {"16-bit": (0, 1023)}
    assert windows(files, Percentile(percentile=(0, 100)), tests=[2, 3]) == {"16-bit": (0, 1023)}
    with pytest.raises(UserError, match="all are in the test split"):
        windows([("a", ramp(1023))], Percentile(percentile=(1, 99)), tests=[0])


@pytest.mark.parametrize("container", ["float", "32-bit", "signed 16-bit"])
def test_types_without_a_meaning_of_white_need_a_value_range(container: str) -> None:
    kind = {"float": np.float32, "32-bit": np.uint32, "signed 16-bit": np.int16}[container]
    files = both(ramp(30000, kind=kind))
    with pytest.raises(UserError, match="no defined black and white") as error:
        windows(files, container=container)
    assert "`value_range: {bits: 16}`, `value_range: [0, 30000]`" in str(error.value)
    assert windows(files, (0, 30000), container=container) == {container: (0, 30000)}
    percents = windows(files, Percentile(percentile=(1, 99)), container=container)
    assert np.abs(np.array(percents[container]) - (300, 29700)).max() < 20
    signed = [("a", ramp(30000, kind=kind)), ("b", ramp(3000).astype(np.int16) - 1024)]
    with pytest.raises(UserError, match=r"start at 0 or at -2048, but 1.png has values below 0"):
        windows(signed, Bits(bits=12), container=container)
    if container == "float":
        with pytest.raises(UserError, match="no fixed range"):
            windows(files, "container", container=container)


def test_dicom_values_are_read_by_what_they_state_else_by_their_depth() -> None:
    scaled: Window = (-1024, 64511)
    hounsfield = both(ramp(4000).astype(np.int16) - 1024)
    assert windows(hounsfield, container="dicom", stated=[(-1024, 3071)] * 2) == {"dicom": (-1024, 3071)}
    assert windows(both(ramp(3000)), container="dicom") == {"dicom": (0, 4095)}
    assert windows(hounsfield, "container", container="dicom", holds=scaled) == {"dicom": scaled}
    for files in (hounsfield, both(ramp(3000))):
        with pytest.raises(UserError, match="no defined black and white"):
            windows(files, container="dicom", holds=scaled)
    with pytest.raises(UserError, match="no defined black and white"):
        windows(both(ramp(3000, kind=np.float32) + 0.5), container="dicom")


def test_percentiles_of_one_value_are_refused() -> None:
    values = np.zeros((40, 40), np.uint16)
    values[0, 0] = 4095
    with pytest.raises(UserError, match="the percentiles 1 and 99 of their values are the same, 0"):
        windows(both(values), Percentile(percentile=(1, 99)))


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_of_a_pool_are_those_of_its_values(values: list[int], share: float) -> None:
    array = np.array(values, np.uint16)
    parts = merge([count(array[:1]), count(array)])
    expected = np.quantile(np.concatenate([array[:1], array]), share, method="inverted_cdf")
    assert parts.quantile(share) == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=50))
def test_pools_of_floats_keep_sixteen_bits_of_each_value(values: list[float]) -> None:
    pool = count(np.array(values, np.float32))
    assert pool.counts.sum() == len(values)
    for value in values:
        assert np.abs(pool.values - value).min() <= abs(value) * 2.0**-16


def test_pools_stay_small_whatever_the_number_of_files() -> None:
    pools = Pools()
    for _ in range(64):
        pools.add("16-bit", count(np.arange(65536, dtype=np.uint16)))
    assert sum(len(pool.values) for pool in pools._waiting["16-bit"]) < 2**21
    assert (pools.merged()["16-bit"].counts == 64).all()


def test_levels_are_those_that_a_window_leaves() -> None:
    twelve = count(np.arange(4096, dtype=np.uint16))
    assert levels(twelve, (0, 4095)) == 256
    assert levels(twelve, (0, 65535)) == 17
    assert [bits_of(value) for value in (0, 255, 256, 65535)] == [8, 8, 10, 16]
