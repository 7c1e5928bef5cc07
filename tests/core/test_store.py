"""Artifacts are whole or not there."""

import errno

import pytest

from privagams.errors import StageError
from privagams.store import Store, digest, disk_error


@pytest.fixture
def store(tmp_path):
    (tmp_path / "artifacts").mkdir()
    return Store(tmp_path / "artifacts")


def test_an_artifact_appears_only_when_it_is_finished(store):
    with store.writing("fit", "abc", {}, resumes=False) as folder:
        (folder / "weights").write_text("1")
        assert not store.has("fit", "abc")
    assert store.has("fit", "abc")
    assert store.damaged("fit", "abc") == []


def test_a_stage_that_fails_leaves_no_artifact_and_a_resuming_one_its_partial_folder(store):
    for resumes in (False, True):
        with pytest.raises(ValueError, match="broken"), store.writing("fit", "abc", {}, resumes) as folder:
            (folder / "checkpoint").write_text("1")
            raise ValueError("broken")
        assert not store.has("fit", "abc")
    with store.writing("fit", "abc", {}, resumes=True) as folder:
        assert (folder / "checkpoint").is_file()
    with pytest.raises(ValueError, match="x"), store.writing("fit", "new", {}, resumes=False) as folder:
        (folder / "old").write_text("1")
        raise ValueError("x")
    with store.writing("fit", "new", {}, resumes=False) as folder:
        assert not (folder / "old").exists()


def test_a_changed_or_missing_file_is_noticed(store):
    with store.writing("release", "k", {}, resumes=False) as folder:
        (folder / "a").write_text("1")
        (folder / "b").write_text("2")
    (store.path("release", "k") / "a").write_text("3")
    (store.path("release", "k") / "b").unlink()
    assert store.damaged("release", "k") == ["a", "b"]


def test_a_full_disk_is_told_in_words(store):
    with (
        pytest.raises(StageError, match="the disk is full"),
        store.writing("tile", "k", {}, resumes=False),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not store.has("tile", "k")
    assert isinstance(disk_error(OSError(errno.EROFS, "read-only"), store.folder), StageError)


def test_keys_depend_on_every_value_and_not_on_order():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
