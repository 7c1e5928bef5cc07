import numpy as np
import pytest

from privagams.judge import truth_of
from privagams.judge.truth import relations
from privagams.records import Records
from privagams.splits import SplitSettings, SplitTable, split


def table(rows):
    """Split and records from (patient, role, part, image, block, section, scanner, site, date, sex)."""
    names = ("patient", "role", "part", "image", "block", "section", "scanner", "site", "date", "sex")
    columns = {name: np.array(c, dtype=str) for name, c in zip(names, zip(*rows, strict=True), strict=True)}
    relation = np.where(columns["part"] == "auxiliary", "other slide", "")
    records = Records(np.zeros((len(rows), 2, 2, 3), np.uint8), columns)
    return SplitTable(columns["patient"], columns["role"], columns["part"], relation), records


def row(patient, role, part, image, block="", section="", scanner="", site="", date="", sex=""):
    return (patient, role, part, image, block, section, scanner, site, date, sex)


ROWS = [
    row("a", "member", "main", "a1", "A", "1", "x", "north", "2020", "f"),
    row("a", "member", "main", "a1", "A", "1", "x", "north", "2020", "f"),
    row("a", "member", "auxiliary", "a2", "A", "2", "y", "north", "2021", "f"),
    row("b", "member", "main", "b1", "B", "1", "x", "south", "2020", "m"),
    row("b", "member", "auxiliary", "b2", "C", "1", "x", "north", "2020", "m"),
    row("c", "nonmember", "main", "c1", "A", "1", "x", "south", "", ""),
    row("c", "nonmember", "auxiliary", "c2", "A", "1", "x", "south", "2020", ""),
]


def truth(holds="other images", patients=("a", "b", "c"), **more):
    parted, records = table(ROWS)
    return truth_of(parted, records, np.array(patients), holds=holds, member_share=0.6, **more)


def strata(about):
    return {name: about.patients[mask].tolist() for name, mask in about.strata.items()}


def test_relations_are_told_where_known_on_both_sides_and_disjoint():
    assert strata(truth()) == {
        "other section": ["a"],
        "other block": ["b"],
        "other scanner": ["a"],
        "other date": ["a"],
        "other site": ["b"],
    }


def test_the_very_images_are_the_same_image_and_marked_as_such():
    about = truth("all images", released_rows=np.array([0, 1, 3]), group=np.array([0, 0, 1]))
    assert strata(about)["same image"] == ["a", "b", "c"]
    assert set(about.relation) == {"same image"}


def test_of_drawn_images_nobody_holds_the_original_so_that_all_images_are_no_easy_case():
    assert set(truth("all images").relation) == {""}


def test_held_training_images_are_nobodys_worst_case():
    about = truth("training images")
    assert set(about.relation) == {""}
    assert truth().relation.tolist() == ["other slide"] * 3


def test_two_halves_of_one_image_are_another_region():
    columns = {name: np.array(["i", "i"] if name == "image" else ["", ""]) for name in
               ("image", "block", "section", "scanner", "date", "site")}  # fmt: skip
    assert relations(columns, np.array([0]), np.array([1])) == {"other region"}
    assert relations(columns, np.array([0, 1]), np.array([1])) == {"same image"}
    assert relations(columns, np.array([0]), np.array([], dtype=int)) == set()


def test_one_shared_section_is_no_other_section():
    columns = {name: np.array(["", "", ""]) for name in ("scanner", "date", "site")} | {
        "image": np.array(["i", "j", "k"]), "block": np.array(["A", "A", "A"]), "section": np.array(["1", "1", "2"]),
    }  # fmt: skip
    assert relations(columns, np.array([0]), np.array([1, 2])) == set()
    assert relations(columns, np.array([0]), np.array([2])) == {"other section"}


def test_copies_are_compared_with_the_rows_that_were_released():
    about = truth(released_rows=np.array([0, 1, 3]), group=np.array([1, 1, 0]))
    assert about.groups.tolist() == ["b", "a"]
    assert about.group_places.image.tolist() == ["b1", "a1"]
    assert about.group_places.block.tolist() == ["B", "A"]


def test_a_main_image_that_was_not_released_makes_no_relation():
    parted, records = table([*ROWS, row("a", "member", "main", "a3", "A", "3", "y", "north", "2020")])
    names, released = np.array(["a"]), np.array([0])
    every = truth_of(parted, records, names, holds="other images", member_share=0.6)
    some = truth_of(
        parted, records, names, holds="other images", member_share=0.6, released_rows=released, group=np.array([0])
    )  # fmt: skip
    assert "other scanner" not in every.strata
    assert some.strata["other scanner"].tolist() == [True]


def test_the_images_of_the_candidates_are_those_that_the_adversary_holds():
    assert truth().images.image.tolist() == ["a2", "b2", "c2"]
    assert truth("training images", ("b", "a")).images.patient.tolist() == ["a", "b"]
    assert truth("all images").images.image.tolist() == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_truth_follows_the_order_of_the_candidates():
    about = truth(patients=("c", "a"))
    assert about.member.tolist() == [False, True]
    assert about.attributes["sex"].tolist() == ["", "f"]
    assert about.member_share == 0.6


def test_an_attribute_is_the_most_frequent_value_known_of_a_patient():
    about = truth()
    assert about.attributes["site"].tolist() == ["north", "north", "south"]
    assert about.attributes["scanner"].tolist() == ["x", "x", "x"]
    assert "age" not in about.attributes


def test_a_missing_value_is_unknown_and_no_word():
    parted, records = table(ROWS)
    sex = np.array([None, "f", None, "m", "m", None, None], dtype=object)
    records = Records(records.pixels, {**records.table, "sex": sex})
    about = truth_of(parted, records, np.array(["a", "b", "c"]), holds="other images", member_share=0.6)
    assert about.attributes["sex"].tolist() == ["f", "m", ""]


def test_sites_are_used_only_where_all_are_known():
    assert truth().sites == (frozenset({"north"}), frozenset({"north", "south"}), frozenset({"south"}))
    parted, records = table([*ROWS, row("d", "member", "main", "d1")])
    about = truth_of(parted, records, np.array(["a", "d"]), holds="other images", member_share=0.6)
    assert about.sites == ()


def test_groups_without_a_gap_are_demanded():
    with pytest.raises(ValueError, match="group"):
        truth(released_rows=np.array([0, 3]), group=np.array([0, 2]))


def test_truth_comes_from_the_split():
    counts = [1, 2, 3, 2, 2, 1, 4, 2]
    patient = np.repeat([f"p{i}" for i in range(8)], counts)
    columns = {"patient": patient, "image": np.array([f"i{i}" for i in range(len(patient))])}
    records = Records(np.zeros((len(patient), 2, 2, 3), np.uint8), columns)
    parted = split(records, SplitSettings(), b"salt")
    held = np.union1d(parted.patients("member", "auxiliary"), parted.patients("nonmember", "auxiliary"))
    about = truth_of(parted, records, held, holds="other images", member_share=0.5)
    assert set(held[about.member]) == set(parted.patients("member", "auxiliary"))
    assert set(about.relation) == {"other image"}
    assert about.groups is None
