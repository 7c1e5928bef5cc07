import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privagams.errors import ConfigError
from privagams.records import Records
from privagams.splits import (
    AUXILIARY,
    MAIN,
    MEMBER,
    NONMEMBER,
    REFERENCE,
    SAME_IMAGE,
    SplitSettings,
    SplitTable,
    check,
    coin,
    split,
)

SALT = b"a salt of the test"


def records_of(rows, **numbers):
    """Records from (patient, slide, image) triples."""
    patient, slide, image = (np.array(column, dtype=str) for column in zip(*rows, strict=True))
    table = {"patient": patient, "slide": slide, "image": image} | {
        k: np.asarray(v) for k, v in numbers.items()
    }
    return Records(np.zeros((len(rows), 2, 2, 3), np.uint8), table)


def whole_images(counts):
    return records_of([(f"p{p}", "", f"p{p}i{i}") for p, count in enumerate(counts) for i in range(count)])


def assignments(records, table):
    keys = zip(records.patient, records.column("image"), records.column("slide"), strict=True)
    return dict(zip(keys, zip(table.role, table.part, table.relation, strict=True), strict=True))


@given(
    counts=st.lists(st.integers(1, 5), min_size=2, max_size=12),
    position=st.integers(0, 11),
    salt=st.binary(min_size=1, max_size=8),
)
def test_adding_a_patient_changes_nobody_else(counts, position, salt):
    settings = SplitSettings(members=0.5, reference=0.2)
    everybody = whole_images(counts)
    left_out = f"p{position % len(counts)}"
    fewer = everybody.take(everybody.patient != left_out)
    after = assignments(everybody, split(everybody, settings, salt))
    before = assignments(fewer, split(fewer, settings, salt))
    assert before == {key: value for key, value in after.items() if key[0] != left_out}


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=12), share=st.floats(0.01, 0.99))
def test_roles_are_disjoint_in_patients_and_both_parts_exist_from_two_images_on(counts, share):
    records = whole_images(counts)
    table = split(records, SplitSettings(auxiliary=share), SALT)
    for patient, count in zip(range(len(counts)), counts, strict=True):
        mine = table.patient == f"p{patient}"
        assert len(set(table.role[mine])) == 1
        assert set(table.part[mine]) == ({MAIN, AUXILIARY} if count > 1 else {MAIN})


def test_shares_of_patients_are_as_asked():
    table = split(whole_images([1] * 4000), SplitSettings(members=0.6, reference=0.1), SALT)
    shares = [len(table.patients(role)) / 4000 for role in (MEMBER, REFERENCE, NONMEMBER)]
    assert shares == pytest.approx([0.6, 0.1, 0.3], abs=0.025)


def test_another_salt_gives_another_split():
    records = whole_images([1] * 200)
    roles = [split(records, SplitSettings(), salt).role for salt in (b"one", b"two")]
    assert (roles[0] != roles[1]).mean() > 0.3


def test_slides_are_never_torn_where_a_patient_has_several():
    rows = [(f"p{p}", f"p{p}s{s}", f"p{p}s{s}i{i}") for p in range(20) for s in range(3) for i in range(2)]
    records = records_of(rows)
    table = split(records, SplitSettings(), SALT)
    for slide in np.unique(records.column("slide")):
        assert len(set(table.part[records.column("slide") == slide])) == 1
    assert set(table.relation[table.part == AUXILIARY]) == {"other slide"}
    assert set(table.relation[table.part == MAIN]) == {""}


def test_unknown_slides_are_split_by_image():
    records = records_of([("p", "s1", "i1"), ("p", "", "i2"), ("p", "s2", "i3")])
    table = split(records, SplitSettings(), SALT)
    assert set(table.relation[table.part == AUXILIARY]) == {"other image"}


def test_one_image_gives_no_auxiliary_unless_asked_for():
    rows = [("p", "s", "i")] * 12
    tiles = records_of(rows, x=np.arange(12) * 64, y=np.arange(12) % 2 * 64)
    assert not split(tiles, SplitSettings(), SALT).where(part=AUXILIARY).any()
    table = split(tiles, SplitSettings(same_image=True), SALT)
    auxiliary = table.where(part=AUXILIARY)
    assert auxiliary.sum() == 6
    assert set(table.relation[auxiliary]) == {SAME_IMAGE}
    x = tiles.table["x"]
    assert x[auxiliary].max() < x[~auxiliary].min() or x[~auxiliary].max() < x[auxiliary].min()


def test_a_single_tile_stays_for_training():
    tile = records_of([("p", "s", "i")], x=[3], y=[4])
    assert split(tile, SplitSettings(same_image=True), SALT).part.tolist() == [MAIN]


def test_same_image_without_positions_is_refused():
    with pytest.raises(ConfigError, match="same_image"):
        split(records_of([("p", "s", "i")] * 2), SplitSettings(same_image=True), SALT)


def test_no_auxiliary_when_its_share_is_nought():
    assert not split(whole_images([3] * 9), SplitSettings(auxiliary=0.0), SALT).where(part=AUXILIARY).any()


def test_a_split_survives_the_disk(tmp_path):
    table = split(whole_images([1, 2, 3]), SplitSettings(), SALT)
    table.save(tmp_path / "split.parquet")
    loaded = SplitTable.load(tmp_path / "split.parquet")
    for name in ("patient", "role", "part", "relation"):
        assert getattr(loaded, name).tolist() == getattr(table, name).tolist()


def test_check_lists_everything_that_is_short():
    settings = SplitSettings(members=0.5)
    table = split(whole_images([1, 1]), settings, SALT)
    with pytest.raises(ConfigError) as caught:
        check(table, settings, members=5, nonmembers=5, reference=2, probes=1)
    problems = caught.value.problems
    assert len(problems) == 4
    assert "about 10 patients" in problems[0]
    check(table, settings, members=0, nonmembers=0)


def test_members_and_reference_leave_room_for_nonmembers():
    with pytest.raises(ValueError, match="sum below 1"):
        SplitSettings(members=0.7, reference=0.3)


def test_coins_are_uniform_and_tell_their_parts_apart():
    tosses = np.array([coin(SALT, "x", str(i)) for i in range(4000)])
    assert np.abs(np.quantile(tosses, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.03
    assert coin(SALT, "ab", "c") != coin(SALT, "a", "bc")
