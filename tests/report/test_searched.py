"""What a report says of a search, and what it must not."""

import json
import re

import pytest
from attrs import evolve

from privagams.component import Use
from privagams.pipeline import ReleaseSearchSettings, ReleaseSettings
from privagams.plugins import discover
from privagams.report.cards import data_card
from privagams.report.data import Chosen, Searched, StageTime
from privagams.report.interface import as_object
from privagams.report.pages import public_page, steward_page
from privagams.report.public import for_public
from privagams.report.searched import search_sentences
from privagams.shown_settings import remarks_on_training, shown_search

SEARCH = Searched(
    "kid", 5.0, "geometric", 500, {"learning_rate": (1e-3, 3e-3), "channels": ([16, 32], [32, 64])},
    {"learning_rate": 3e-3, "channels": [16, 32]}, 5.02,
)  # fmt: skip


def test_without_the_choice_it_says_all_but_that():
    chose, *others = search_sentences(evolve(SEARCH, chosen=None))
    assert chose.startswith(
        "A search chose its settings, which are told once it is approved. It trained again"
    )
    assert tuple(others) == search_sentences(SEARCH)[1:]


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
    unchosen = search_sentences(evolve(SEARCH, chosen=None))
    told = evolve(
        last, status="approved", searched=evolve(SEARCH, notes_without_choice=unchosen),
        generator=Chosen("diffusion", {"steps": 60, **SEARCH.chosen}), public_notes=search_sentences(SEARCH),
    )  # fmt: skip
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
    assert "not told, as it would tell how long a search took" in row
    assert [stage["seconds"] for stage in as_object(searched)["provenance"]["stages"]] == [None, 3.0]


@pytest.mark.parametrize("status", ["approved", "waiting for approval", "refused by gate", "not released"])
@pytest.mark.parametrize("figures", [False, True])
def test_what_a_search_chose_is_public_only_once_the_release_is_approved(searched, status, figures):
    *others, last = searched.releases
    report = evolve(searched, releases=(*others, evolve(last, status=status)))
    approved = status == "approved"
    release = as_object(for_public(report, figures))["releases"][-1]
    assert release["search"]["chosen"] == (SEARCH.chosen if approved else None)
    assert release["generator"]["settings"] == {"steps": 60, **(SEARCH.chosen if approved else {})}
    assert release["search"]["over"]["channels"] == [[16, 32], [32, 64]]
    sentence = "learning_rate = 0.003, channels = [16, 32]"
    texts = [public_page(report, figures), json.dumps(release["notes"]), data_card(report, last)]
    for text in texts:
        plain = text.replace("\\", "")
        assert "A search chose its settings" in plain
        assert (sentence in plain) == approved
    assert sentence in steward_page(report)


@pytest.mark.parametrize("status", ["approved", "waiting for approval"])
def test_an_audit_of_chosen_settings_is_public_only_once_the_release_is_approved(searched, status):
    *others, last = searched.releases
    audit = evolve(next(a for r in searched.releases for a in r.attacks if a.measurements), private=False)
    report = evolve(searched, releases=(*others, evolve(last, status=status, attacks=(audit,))))
    shown = for_public(report).releases[-1].attacks[0].measurements
    assert shown == (audit.measurements if status == "approved" else ())
    unsearched = evolve(report.releases[-1], searched=None)
    assert for_public(evolve(report, releases=(unsearched,))).releases[0].attacks[0].measurements


@pytest.fixture
def diffusion():
    def of(**more):
        generator = Use("diffusion", {"steps": 60, "start": "/secret/own.safetensors", "learning_rate": 1e-3})
        search = ReleaseSearchSettings(Use("kid", {}), **more)
        return ReleaseSettings("one", images=8, generator=generator, search=search)

    return of


def test_weights_that_were_tried_are_all_named_where_the_choice_is_not(diffusion):
    release = diffusion(over={"start": ["/secret/a.safetensors", "/secret/b.safetensors"]})
    facts = {"chosen": {"start": "/secret/b.safetensors"}, "epsilon_of_one": 2.0}
    registry = discover()
    chosen = remarks_on_training(release, facts, registry)
    unchosen = shown_search(release, facts, registry).notes_without_choice
    assert chosen[0].startswith("Its training started from the weights in b.safetensors, which")
    assert unchosen[0].startswith(
        "Its training started from the weights in a.safetensors or b.safetensors, which"
    )
    assert len(unchosen) == len(chosen)
    assert not any("/secret" in text for text in (*chosen, *unchosen))
