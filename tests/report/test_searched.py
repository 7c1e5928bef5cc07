"""What a report says of a search, and what it must not."""

import re

import pytest
from attrs import evolve

from privagams.report.data import Searched, StageTime
from privagams.report.interface import as_object
from privagams.report.pages import public_page, steward_page
from privagams.report.public import for_public
from privagams.report.searched import search_sentences

SEARCH = Searched(
    "kid", 5.0, "geometric", 500, {"learning_rate": (1e-3, 3e-3), "channels": ([16, 32], [32, 64])},
    {"learning_rate": 3e-3, "channels": [16, 32]}, 5.02,
)  # fmt: skip


def test_it_says_what_was_chosen_out_of_what_and_by_what():
    chose, claim, one = search_sentences(SEARCH)
    assert "learning_rate = 0.003, channels = [16, 32]" in chose
    assert "4 candidates (learning_rate out of 0.001, 0.003; channels out of [16, 32], [32, 64])" in chose
    assert "a geometric number of them, 5 on average" in chose
    assert "kid between 500 drawn images and images of reference patients" in chose
    assert "for this search as a whole" in claim
    assert "replacing a patient was not computed" in claim
    assert "ε = 5.02" in one
    assert "a Poisson number" in search_sentences(evolve(SEARCH, distribution="poisson"))[0]


@pytest.fixture
def searched(report):
    *others, last = report.releases
    told = evolve(last, searched=SEARCH, public_notes=search_sentences(SEARCH))
    stages = (StageTime("fit searched", None), StageTime("draw searched", 3.0))
    return evolve(
        report, releases=(*others, told), provenance=evolve(report.provenance, stages=stages)
    )  # fmt: skip


def test_both_pages_and_both_files_tell_of_the_search(searched):
    for text in (steward_page(searched), public_page(searched)):
        assert "A search chose its settings" in text
        assert "for this search as a whole" in text
    for told in (as_object(searched), as_object(for_public(searched))):
        search = told["releases"][-1]["search"]
        assert search == {
            "score": "kid", "images": 500, "trials": 5.0, "distribution": "geometric", "candidates": 4,
            "over": {"learning_rate": [1e-3, 3e-3], "channels": [[16, 32], [32, 64]]},
            "chosen": {"learning_rate": 3e-3, "channels": [16, 32]}, "epsilon_of_one": 5.02,
        }  # fmt: skip
        assert all(release["search"] is None for release in told["releases"][:-1])


def test_how_long_a_search_took_is_in_no_file(searched):
    page = steward_page(searched)
    row = re.search(r"<tr[^>]*><th[^>]*>fit searched</th>.*?</tr>", page).group(0)
    assert "not told: it searched" in row
    assert [stage["seconds"] for stage in as_object(searched)["provenance"]["stages"]] == [None, 3.0]
