"""The solar cells of the PyPI package."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.load import load_dataset
from benchmark.data.source import DatasetSource


@pytest.mark.slow
def test_elpv_has_2223_images_in_three_drawn_splits() -> None:
    elpv = load_dataset(DatasetSource(name="elpv"), split_seed=0, image_size=32, grey=True)
    splits = (elpv.train, elpv.validation, elpv.test)
    assert [len(split) for split in splits] == [1557, 333, 333]
    assert np.bincount(np.concatenate([split.labels for split in splits])).tolist() == [1508, 715]
    rows = np.concatenate([split.rows for split in splits])
    assert sorted(rows.tolist()) == list(range(2223))
    assert elpv.classes == ("functional", "defective")
    assert len(elpv.notes) == 2
