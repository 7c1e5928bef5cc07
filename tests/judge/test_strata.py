import numpy as np
import pytest

from privagams.access import Scores
from privagams.judge.strata import by_relation, by_section_distance, within_site


def linkable(strength, count=60, members=36, seed=1):
    scores = np.random.default_rng(seed).normal(size=(members, count))
    scores[np.arange(members), np.arange(members)] += strength
    return scores


def everyone(about):
    return np.ones(len(about.patients), dtype=bool)


def test_a_relation_is_measured_over_its_own_patients(make_truth):
    near, far = np.arange(60) < 10, (np.arange(60) >= 5) & (np.arange(60) < 30)
    about = make_truth(copies=True, strata={"other region": near, "other block": far})
    found = {
        (m.name, m.note): m for m in by_relation(linkable(9 * near[:36]), about, frozenset())
    }  # fmt: skip
    assert set(found) == {(n, s) for n in ("top-1", "mrr") for s in ("other region", "other block")}
    assert found["top-1", "other region"].n == 10
    assert found["top-1", "other block"].n == 25
    assert found["top-1", "other block"].chance == pytest.approx(1 / 60)


def test_a_relation_of_one_patient_is_not_measured(make_truth):
    about = make_truth(
        copies=True, strata={"other block": np.arange(60) < 1, "other site": np.arange(60) > 40}
    )
    assert by_relation(linkable(9), about, frozenset()) == []


def test_relations_stand_behind_the_headline_and_are_never_it(make_truth, judged):
    strata = {"other block": np.arange(60) < 20, "same image": np.arange(60) < 5}
    about = make_truth(copies=True, relation="other slide", strata=strata)
    verdict = judged(linkable(9), about, "linkage")
    assert (verdict.headline.name, verdict.headline.n, verdict.headline.note) == ("top-1", 36, "")
    assert [m.note for m in verdict.measurements if m.note.startswith("other")] == ["other block"] * 2
    marked = make_truth(copies=True, relation="same image", strata=strata, holds="all images")
    verdict = judged(linkable(9), marked, "linkage")
    assert verdict.headline is None
    assert "the very images in question" in verdict.sentence
    # What is marked already is not told twice.
    assert len([m for m in verdict.measurements if m.note == "same image" and m.name == "top-1"]) == 1


def test_within_a_site_the_site_alone_tells_nothing(make_truth, places):
    site = np.array(["north", "south"] * 30)
    about = make_truth(
        copies=True,
        sites=tuple(frozenset({s}) for s in site),
        group_places=places(*[f"i{i}" for i in range(36)], site=site[:36]),
    )
    by_site = (site[:36, None] == site[None]) * 10 + 0.001 * linkable(0)
    found = {m.name: m for m in within_site(by_site, about, everyone(about))}
    assert found["top-1"].chance == pytest.approx(1 / 30)
    assert found["top-1"].value < 0.15
    assert {m.note for m in found.values()} == {"within site"}
    known = {m.name: m for m in within_site(linkable(9), about, everyone(about))}
    assert (known["top-1"].value, known["mrr"].value, known["top-1"].n) == (1, 1, 36)


def test_one_site_or_an_unknown_one_gives_no_gallery_of_its_own(make_truth, places):
    names = [f"i{i}" for i in range(36)]
    one = make_truth(
        copies=True, sites=(frozenset({"n"}),) * 60, group_places=places(*names, site=["n"] * 36)
    )  # fmt: skip
    assert within_site(linkable(9), one, everyone(one)) == []
    unknown = make_truth(copies=True, sites=(), group_places=places(*names))
    assert within_site(linkable(9), unknown, everyone(unknown)) == []


def sections(make_truth, places):
    """Two patients, one block each: the adversary holds sections 2, 3 and 5, section 1 was released."""
    return make_truth(
        3, 2, copies=True,
        images=places(
            "a2", "a3", "a5", "b2", "b3", "b5", "c1",
            patient=["p0"] * 3 + ["p1"] * 3 + ["p2"], block=["A"] * 3 + ["B"] * 3 + ["C"],
            section=["2", "3", "5", "2", "3", "5", "1"],
        ),
        group_places=places("a1", "b1", patient=["p0", "p1"], block=["A", "B"], section=["1", "1"]),
    )  # fmt: skip


def test_a_section_counts_when_it_stands_before_every_other_patient(make_truth, places):
    about = sections(make_truth, places)
    by_image = np.array([[9.0, 1, 5, 2, 0, 0, 0], [0.0, 0, 3, 2, 0, 9, 3]])
    found = {m.name: m for m in by_section_distance(by_image, about, everyone(about))}
    assert set(found) == {"r-s@1", "r-s@2", "r-s@4"}
    assert [found[f"r-s@{d}"].value for d in (1, 2, 4)] == [0.5, 0.0, 1.0]
    # One own section against four images of others.
    assert found["r-s@1"].chance == pytest.approx(1 / 5)
    assert found["r-s@1"].n == 2


def test_a_tie_with_another_patient_is_no_success(make_truth, places):
    about = sections(make_truth, places)
    found = by_section_distance(np.zeros((2, 7)), about, everyone(about))
    assert [m.value for m in found] == [0, 0, 0]


def test_the_chance_of_a_section_is_that_of_ranking_at_random(make_truth, places):
    about = sections(make_truth, places)
    rng = np.random.default_rng(1)
    runs = [by_section_distance(rng.random((2, 7)), about, everyone(about)) for _ in range(2000)]
    for position in range(3):
        values = [found[position].value for found in runs]
        assert np.mean(values) == pytest.approx(runs[0][position].chance, abs=0.03)


def test_without_blocks_or_numbers_there_are_no_distances(make_truth, places, judged):
    about = make_truth(4, 2, copies=True, images=places("a", "b", "c"), group_places=places("x", "y"))
    assert by_section_distance(np.ones((2, 3)), about, everyone(about)) == []
    assert judged(Scores(np.eye(2, 4), by_image=np.ones((2, 3))), about, "linkage").headline is not None


def test_section_distances_reach_the_verdict(make_truth, places, judged):
    verdict = judged(Scores(np.eye(2, 3), by_image=np.ones((2, 7))), sections(make_truth, places), "linkage")
    assert "r-s@1" in {m.name for m in verdict.measurements}
