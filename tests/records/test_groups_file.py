"""``groups.csv``: rows that people may write, and rows that are never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.records import groups_file


def test_what_is_added_is_read_again_sorted_and_quoted(tmp_path: Path) -> None:
    rps = {"b.png": "hand 1", "a, or b.png": "hand 2", "ä.png": "hand 1", "line\u2028\n.png": "hand 2"}
    assert groups_file.add(tmp_path, {"rps": rps}) == ("rps",)
    assert groups_file.add(tmp_path, {"beans": {"x.png": "x.png"}}) == ("beans",)
    assert groups_file.read(tmp_path) == {"rps": rps, "beans": {"x.png": "x.png"}}
    assert (tmp_path / groups_file.FILE).read_text(encoding="utf-8") == (
        'fingerprint,image_id,group\nbeans,x.png,x.png\nrps,"a, or b.png",hand 2\nrps,b.png,hand 1\n'
        'rps,"line\u2028\n.png",hand 2\nrps,ä.png,hand 1\n'
    )


def test_names_that_a_spreadsheet_would_compute_are_marked_in_the_file_and_come_back(tmp_path: Path) -> None:
    groups = {"=1+1": {"-5.png": "-1", "'=a.png": "@noise", "'b.png": "+1"}}
    groups_file.add(tmp_path, groups)
    assert groups_file.read(tmp_path) == groups
    text = (tmp_path / groups_file.FILE).read_text(encoding="utf-8")
    assert text.splitlines()[1:] == ["'=1+1,''=a.png,'@noise", "'=1+1,'b.png,'+1", "'=1+1,'-5.png,'-1"]
    (tmp_path / groups_file.FILE).write_text(text.replace("'=1+1,'-5.png,'-1", "=1+1,-5.png,-1"), encoding="utf-8")
    assert groups_file.read(tmp_path) == groups, "as people write it"


def test_a_dataset_that_has_groups_keeps_them(tmp_path: Path) -> None:
    corrected = "fingerprint,image_id,group\r\nrps,a.png,patient 7\r\n"
    (tmp_path / groups_file.FILE).write_text(corrected, encoding="utf-8-sig")
    assert groups_file.add(tmp_path, {"rps": {"a.png": "a.png"}}) == ()
    assert (tmp_path / groups_file.FILE).read_text(encoding="utf-8-sig") == corrected.replace("\r\n", "\n")
    assert groups_file.read(tmp_path) == {"rps": {"a.png": "patient 7"}}
    assert groups_file.add(tmp_path, {"rps": {"a.png": "a.png"}, "beans": {"b.png": "b.png"}}) == ("beans",)
    assert groups_file.read(tmp_path) == {"rps": {"a.png": "patient 7"}, "beans": {"b.png": "b.png"}}


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert groups_file.read(tmp_path) == {}
    assert groups_file.add(tmp_path, {}) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"groups\.csv:1: the columns must be fingerprint,image_id,group"),
        (b"fingerprint,image,group\n", r":1: the columns must be"),
        (b"fingerprint,image_id,group\nrps,a.png\n", r":2: the three fields"),
        (b"fingerprint,image_id,group\nrps,a.png,1\nrps,b,\n", r":3: the three fields .* must not be empty"),
        (b"fingerprint,image_id,group\nrps,a.png,1\nrps,a.png,2\n", r":3: a\.png of rps is listed twice"),
        (b"fingerprint,image_id,group\nrps,\xff.png,1\n", r"groups\.csv: cannot be read"),
        (b'fingerprint,image_id,group\nrps,"' + b"a,b,c\n" * 30_000, r"groups\.csv:\d+: field larger than field limit"),
    ],
)
def test_a_damaged_file_is_reported_with_its_line_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / groups_file.FILE
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        groups_file.read(tmp_path)
    with pytest.raises(UserError, match=message):
        groups_file.add(tmp_path, {"beans": {"b.png": "b.png"}})
    assert path.read_bytes() == content
