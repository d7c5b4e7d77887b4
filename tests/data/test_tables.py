"""Tables of images: labels.csv, and metadata as Hugging Face's imagefolder has it."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.table_file import read_table
from benchmark.errors import UserError
from tests.data.conftest import listed, touch

IMAGES = ("1.png", "2.png", "3.png", "im/4.png")


def table(root: Path, text: str | bytes, name: str = "labels.csv", images: tuple[str, ...] = IMAGES) -> Path:
    """Write a table of images that exist and return its folder."""
    touch(root, *images)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def read(path: Path, **keys: Any) -> dict[str, tuple[str, str | None, str | None]]:
    listing = listed(path, **keys)
    return {file.id: (listing.classes[file.label], file.split, file.clip) for file in listing.files}


def refused(path: Path, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        listed(path, **keys)
    return str(caught.value)


GOOD = "path,label\n1.png,cät\n2.png,dog\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace("\n", "\r\n") + "\r\n",
        GOOD.replace("\n", "\r"),
        'path,label\n"1.png","cät"\n2.png,"dog"',
        "label,path\n cät , 1.png\ndog,./2.png\n",
        codecs.BOM_UTF8 + GOOD.encode(),
        codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + GOOD.encode("utf-32-le"),
    ],
)
def test_tables_of_spreadsheets_are_read_whatever_their_separators_and_encodings(
    text: str | bytes, tmp_path: Path
) -> None:
    assert read(table(tmp_path, text)) == {"1.png": ("cät", None, None), "2.png": ("dog", None, None)}


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffd"), min_size=1)
ROWS = st.lists(st.tuples(*[CELLS.filter(str.strip)] * 2), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from(",;\t"), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_a_spreadsheet_writes_is_read_back(rows: list[tuple[str, str]], mark: str, quoting: Literal[0, 1]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=mark, quoting=quoting).writerows([("path", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "labels.csv").write_bytes(written.getvalue().encode())
        found = read_table(Path(folder) / "labels.csv").rows
    assert [(row.path, row.label) for row in found] == [(path.strip(), label.strip()) for path, label in rows]


def test_quotes_hold_separators_and_quotes(tmp_path: Path) -> None:
    text = 'path,label\n1.png,"crack, long"\n2.png,"5"" pipe"\n'
    assert {label for label, *_ in read(table(tmp_path, text)).values()} == {"crack, long", '5" pipe'}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n1.png,crack, long\n", "csv:2: 3 cells, but the first line has 2. Quote a cell that contains ','"),
        ("path,label,split\n1.png,cat\n", "csv:2: 2 cells, but the first line has 3"),
        ("path,label\n1.png,cat,\n", "csv:2: 3 cells"),
        ("path;label,split\n1.png;cat,train\n", "csv:1: ',' and ';' both separate cells"),
        ('path,label\n1.png,"cat\n2.png,dog\n', "csv:2: unexpected end of data: a quote starts or ends"),
        ('path,label\n1.png,"cat\n2.png,dog"\n3.png,dog\n', "csv:2: a cell spans several lines"),
        ('path,label\n1.png,5" pipe\n', "csv:2: a quote is inside a cell"),
        ('path,label\n1.png, "cat"\n', "csv:2: a quote is inside a cell"),
        ('path,label\n1.png,"ca"t\n', "csv:2: ',' expected after '\"'"),
        ("path,label\n1.png,c\0t\n", "csv:2: byte 0 does not occur in text"),
        ("path,label\n1.png,c\x07t\n", r"csv:2: the character '\x07' does not occur in text"),
        ("path,label\n1.png,c�t\n", r"csv:2: the character '\ufffd' does not occur in text"),
        (GOOD.encode("latin-1"), "csv:2: byte 0xe4 is not UTF-8. Save the table as UTF-8"),
        (GOOD.encode("utf-16-le"), "csv:1: byte 0 does not occur in text: the table is damaged, or UTF-16"),
        (codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le")[:-1], "is not UTF-16"),
        ("1.png,cat\n2.png,dog\n", "csv:1: unknown column '1.png'"),
        ("path,label,\n1.png,cat,\n", "csv:1: unknown column ''"),
        ("path,label\n1.png,cat\n2.png,Cat\n", "csv:3: label 'Cat' looks the same as 'cat' of labels.csv:2"),
        ("path,label\n1.png,1\n2.png,1.0\n", "csv:3: label '1.0' looks the same as '1' of labels.csv:2"),
        ("path,label\n1.png,01\n2.png,1\n", "csv:3: label '1' looks the same as '01' of labels.csv:2"),
        (
            "path,label\n1.png,café\n2.png,cafe\u0301\n",
            r"'cafe\u0301') looks the same as 'café' ('caf\xe9') of labels.csv:2",
        ),
        ("path,label\n1.png,cat\n2.png,cat\u200b\n", r"'cat\u200b'"),
        ("path,label\n1.png,\u200b\n2.png,cat\n", r"csv:2: label '\u200b' ('\u200b') has no visible character"),
        ("path,label,group\n1.png,a,P1\n2.png,b,p1\n", "csv:3: group 'p1' looks the same as 'P1' of labels.csv:2"),
        ("path,label\n1.png,a\n./1.png,b\n", "csv:3: ./1.png is listed more than once: also in labels.csv:2"),
        ("path,label\n1.png,a\nim/../1.png,b\n", "csv:3: im/../1.png is listed more than once"),
        ("path,label\nim\\4.png,a\nim/4.png,b\n", "csv:3: im/4.png is listed more than once"),
        ("path,label\nim,a\n2.png,b\n", "csv:2: im is a folder, not a file"),
        ("path,label\n../1.png,a\n2.png,b\n", "1.png does not exist"),
        ("path,label\n1.PNG,a\n2.png,b\n", "1.PNG does not exist; there is '1.png'"),
        ("path,label\nno\\1.png,a\n2.png,b\n", r"does not exist, nor with / instead of \."),
        ("path,label\n~/1.png,a\n2.png,b\n", "~ is not the home folder here"),
        ("path,label\nhttps://x.org/1.png,a\n2.png,b\n", "is a URL, not a file"),
        ("path,label\n/etc/hostname,a\n2.png,b\n", "csv:2: /etc/hostname is outside of"),
        (f"path,label\n{'x' * 300}.png,a\n", "File name too long"),
        ("path,label\ngone.png,a\n2.png,b\n", "gone.png a link to lost.png, which does not exist"),
        ("path,label\nlive.png,a\n2.png,b\n", "live.png is a pipe, not a file"),
        ("path,label,split\n1.png,a,train\n2.png,b,\n", "csv:3: split is empty, but not in other rows"),
        ("path,label,split\n1.png,a,val\n2.png,b,test\n", "csv:1: the splits are test and val; one must be train"),
        ("path,label,split\n1.png,a,1\n2.png,b,2\n", "csv:2: split '1' is not one of train, validation, test"),
    ],
)
def test_a_row_that_is_wrong_or_has_two_readings_is_refused_with_its_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    table(tmp_path, text)
    (tmp_path / "gone.png").symlink_to("lost.png")
    os.mkfifo(tmp_path / "live.png")
    found = refused(tmp_path / "labels.csv")
    assert message in found
    assert f"{tmp_path / 'labels.csv'}:" in found


def test_paths_below_the_folder_are_one_however_they_are_written(tmp_path: Path) -> None:
    root = tmp_path / "a folder"
    text = f"path,label\n{root}/1.png,a\nim/../2.png,b\n.//3.png,b\nim\\4.png,a\n"
    assert set(read(table(root, text))) == set(IMAGES)
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert set(read(linked)) == set(IMAGES), "its own path is written in another way"


def test_a_backslash_that_is_part_of_a_name_is_told_from_one_for_a_slash(tmp_path: Path) -> None:
    table(tmp_path, "path,label\nim\\5.png,a\n1.png,b\n", images=(*IMAGES, "im\\5.png"))
    assert set(read(tmp_path)) == {"im\\5.png", "1.png"}
    touch(tmp_path, "im/5.png")
    assert "is a file, and so is" in refused(tmp_path)


def test_split_folders_in_the_paths_are_not_overlooked(tmp_path: Path) -> None:
    images = ("train/1.png", "train/2.png", "test/3.png")
    text = "path,label\ntrain/1.png,a\ntrain/2.png,b\ntest/3.png,a\n"
    table(tmp_path, text, images=images)
    message = refused(tmp_path)
    assert "can be read in two ways" in message
    assert "has no column split" in message
    empty = text.replace("label", "label,split").replace("a\n", "a,\n").replace("b\n", "b,\n")
    table(tmp_path, empty, images=images)
    assert {split for _, split, _ in read(tmp_path).values()} == {None}


def test_images_that_the_table_does_not_name_are_counted(tmp_path: Path) -> None:
    table(tmp_path, "path,label\n1.png,a\n2.png,b\n")
    assert [str(remark) for remark in listed(tmp_path).remarks] == [
        "left out: 2 entries, not in the table: 3.png, im/4.png"
    ]
    assert listed(tmp_path / "labels.csv").remarks == (), "a table that is named says itself which images are meant"


def test_a_table_of_another_name_can_be_given(tmp_path: Path) -> None:
    table(tmp_path, GOOD, "train.csv")
    assert f"To use a table with another name, write folder:{tmp_path / 'train.csv'}" in refused(tmp_path)
    assert set(read(tmp_path / "train.csv")) == {"1.png", "2.png"}


def test_a_table_in_a_folder_around_the_images_is_found(tmp_path: Path) -> None:
    table(tmp_path / "archive" / "data", GOOD, images=("1.png", "images/4.png", "2.png"))
    touch(tmp_path, "archive/LICENSE.md")
    assert set(read(tmp_path)) == {"archive/data/1.png", "archive/data/2.png"}


def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(touch(tmp_path, "a/1.png", "b/1.png") / "labels.csv")
    assert "labels.csv: this is a pipe, not a file" in refused(tmp_path)


METADATA = "file_name,label,text\n1.png,a,x\n2.png,b,\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", METADATA),
        ("metadata.csv", METADATA.replace(",", ";")),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a", "text": "x"}\n\n{"file_name": "2.png", "label": "b"}'),
        ("metadata.jsonl", '{"file_name": "1.png", "label": 0, "text": [1]}\n{"file_name": "2.png", "label": 1}\n'),
    ],
)
def test_metadata_of_an_imagefolder_is_read_and_its_other_columns_are_named(
    name: str, text: str, tmp_path: Path
) -> None:
    listing = listed(table(tmp_path, text, name))
    assert [file.id for file in listing.files] == ["1.png", "2.png"]
    assert listing.classes in (("a", "b"), ("0", "1"))
    assert "left out: 1 column of the metadata, not used: text" in map(str, listing.remarks)


def test_metadata_takes_its_splits_from_the_folders(tmp_path: Path) -> None:
    names = [f"{split}/{k}.png" for split in ("train", "validation", "test") for k in (1, 2)]
    rows = [{"file_name": name, "label": "ab"[k % 2]} for k, name in enumerate(names)]
    table(tmp_path / "1", "\n".join(map(json.dumps, rows)), "metadata.jsonl", tuple(names))
    for split in ("train", "validation", "test"):
        text = "file_name,label\n1.png,a\n2.png,b\n"
        table(tmp_path / "2", text, f"{split}/metadata.csv", tuple(names))
    for folder in ("1", "2"):
        found = Counter((label, split) for label, split, _ in read(tmp_path / folder).values())
        assert found == {(label, split): 1 for label in "ab" for split in ("train", "validation", "test")}
    (tmp_path / "2" / "test" / "metadata.csv").unlink()
    assert "test has no table of its images, but other splits have one" in refused(tmp_path / "2")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "file_name,text\n1.png,a\n", "csv:1: column label is missing"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a"}\n{', "jsonl:2: not a JSON object"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a", "label": "b"}', "duplicate key"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": 0.5}', "jsonl:1: label is 0.5, neither text nor a whole"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": ["a"]}', 'jsonl:1: label is ["a"], neither text nor'),
        ("metadata.jsonl", '{"file_name": "1.png", "label": true}', "jsonl:1: label is true, neither text nor"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": null}', "jsonl:1: file_name or label is empty"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a"}\n[]', "jsonl:2: not a JSON object"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a\\u0000"}', r"jsonl:1: 'a\x00' is not one line of text"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "\\ud800"}', r"jsonl:1: '\ud800' is not one line of text"),
        ("metadata.csv", "file_name,label,split\n1.png,a,x\n", "csv:2: split 'x' is not one of"),
    ],
)
def test_a_mistake_in_metadata_is_reported_with_its_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(table(tmp_path, text, name))


def test_of_two_tables_none_is_preferred_and_other_metadata_is_no_table(tmp_path: Path) -> None:
    table(tmp_path, GOOD)
    table(tmp_path, METADATA, "metadata.csv")
    assert "labels.csv and metadata.csv are tables of the images" in refused(tmp_path)
    (tmp_path / "labels.csv").unlink()
    table(tmp_path, "isic_id,age\n1,2\n", "metadata.csv", images=("a/1.png", "b/1.png"))
    (tmp_path / "im" / "4.png").unlink()
    (tmp_path / "im").rmdir()
    assert set(read(tmp_path)) == {"a/1.png", "b/1.png"}, "its classes are folders"
