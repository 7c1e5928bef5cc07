"""The table of images: its faults by line, and pseudonyms for every name."""

import tomllib

import pytest

from privagams.config import check
from privagams.errors import ConfigError
from privagams.plugins import discover
from privagams.source import Digests, image_files, read_rows

PIPELINE = """
api = 1
name = "p"
[source]
use = "images"
dataset = "d"
table = "t.csv"
{more}
[tiles]
size = 32
mpp = "native"
[public]
patients = 4
classes = {{ a = 0.5, b = 0.5 }}
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture
def rows(tmp_path, registry):
    def read(table: str, more: str = ""):
        (tmp_path / "t.csv").write_text(table)
        pipeline, _ = check(tomllib.loads(PIPELINE.format(more=more)), tmp_path, registry)
        return read_rows(pipeline)

    return read


def test_names_never_get_past_the_source(rows):
    found = image_files(
        rows("file,patient_id,slide_id,label\nX1.png,ANNA,S1,a\nX2.png,ANNA,S2,b\n"), b"k" * 32
    )
    assert found[0].patient == found[1].patient
    assert found[0].slide != found[1].slide
    for image in found:
        assert not any(
            name in f"{image.patient}{image.slide}{image.image}{image.columns}" for name in ("ANNA", "S1")
        )


def test_pseudonyms_of_another_key_share_nothing(rows):
    table = "file,patient_id,slide_id,label\nX1.png,ANNA,S1,a\n"
    (one,), (other,) = image_files(rows(table), b"k" * 32), image_files(rows(table), b"l" * 32)
    assert {one.patient, one.slide, one.image}.isdisjoint({other.patient, other.slide, other.image})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,patient_id,label\nx.png,A,a\nx.png,B,a\n", "belongs to 2 patients; it would be in two splits"),
        ("file,patient_id,slide_id,label\nx.png,A,S,a\ny.png,B,S,a\n", "slide 'S' belongs to 2 patients"),
        ("file,patient_id,label\nx.png,A,a\nx.png,A,a\n", "is listed twice"),
        ("file,patient_id,label\nx.png,,a\n", "line 2: no patient"),
        ("file,patient_id,label,mpp\nx.png,A,a,0.5um\n", "line 2: mpp: expected µm per px"),
        ("file,case,label\nx.png,A,a\n", "has no column 'patient_id'"),
        ("file,patient_id,label\nx.png,A,c\n", "label 'c', which is none of a, b"),
        ("file,patient_id,label\n", "has no rows"),
    ],
)
def test_each_fault_of_the_table_has_its_text(rows, table, said):
    with pytest.raises(ConfigError) as caught:
        rows(table)
    assert said in str(caught.value)


def test_columns_and_labels_can_be_renamed(rows):
    (row,) = rows(
        "file,case,label\nx.png,A,other\n", 'columns = { patient = "case" }\nlabels = { other = "b" }'
    )
    assert (row.patient, row.columns["label"]) == ("A", "b")


def test_files_that_the_table_does_not_name_are_told(rows, tmp_path):
    (tmp_path / "x.png").write_bytes(b"1")
    (tmp_path / "stray.png").write_bytes(b"1")
    with pytest.raises(ConfigError, match=r"1 files are in no row of the table, such as 'stray.png'"):
        rows("file,patient_id,label\nx.png,A,a\n", 'files = "*.png"')


def test_a_changed_file_has_another_digest_and_the_cache_holds_no_name(tmp_path):
    path = tmp_path / "ANNA.png"
    path.write_bytes(b"1")
    digests = Digests(tmp_path / "cache.json")
    before = digests.of(path)
    path.write_bytes(b"22")
    assert digests.of(path) != before
    digests.save()
    assert "ANNA" not in (tmp_path / "cache.json").read_text()
    assert digests.of(tmp_path / "none.png") == "missing"
