import json
import math

import numpy as np
from attrs import evolve

from privagams.report.cards import data_card, model_card
from privagams.report.data import Claim
from privagams.report.interface import as_json
from privagams.report.pages import public_page
from privagams.report.public import for_public
from privagams.report.wording import gloss

SECRETS = (
    "0.970", "0.641", "0.507", "0.740", "0.0214", "25,600", "25600", "p-7f3a", "p-5d10", "712", "sha256:51ab",
    "41 h", "96.2", "201 of 216", "No bound is above", "12,000", "12000", "Linux", "3,456", "3456",
    "could not be read", "4 non-member", "nobody does better",
)  # fmt: skip
"""Figures, names and words of the example that only members' data could have given."""


def approved(report, name, **more):
    releases = tuple(evolve(r, status="approved", **more) if r.name == name else r for r in report.releases)
    return evolve(report, releases=releases)


def test_the_public_page_shows_no_figure_from_members_unless_asked(report):
    for text in (public_page(report), as_json(for_public(report))):
        assert [secret for secret in SECRETS if secret in text] == []
        assert "15.2" in text
        assert "nearest-patient" in text


def test_figures_from_members_are_shown_as_outside_the_claim_when_the_steward_says_so(report):
    page = public_page(report, include_figures_from_members=True)
    assert "0.970" in page
    assert "Outside the claim." in page
    listed = json.loads(as_json(for_public(report, include_figures_from_members=True)))["outside_the_claim"]
    assert {"raw: nearest-patient", "dp-merf: kid"} <= set(listed)
    assert "dp-merf: canaries" not in listed
    assert json.loads(as_json(for_public(report)))["outside_the_claim"] == []
    never = ("p-7f3a", "712", "sha256:51ab", "25,600", "41 h", "12,000")
    assert [secret for secret in never if secret in page] == []


def test_a_figure_for_one_class_is_explained_like_the_figure_for_all():
    assert gloss("downstream-accuracy:tumour") == f"{gloss('downstream-accuracy')}, class tumour only"
    assert gloss("unheard-of:x") == ""


def test_figures_that_saw_no_member_stay(report):
    released = json.loads(as_json(for_public(report)))["releases"]
    audit = next(a for r in released for a in r["attacks"] if a["attack"] == "canaries")
    assert audit["measurements"][0]["value"] == 0.41


def test_a_refusal_by_the_gate_looks_like_any_release_that_did_not_leave(report):
    refused = evolve(report, releases=tuple(evolve(r, status="refused by gate") for r in report.releases[2:]))
    waiting = evolve(report, releases=report.releases[2:])
    assert as_json(for_public(refused)) == as_json(for_public(waiting))
    assert public_page(refused) == public_page(waiting)


def test_images_appear_in_public_only_for_an_approved_release_with_a_claim(report):
    assert "<img" not in public_page(report)
    assert public_page(approved(report, "dp-merf")).count("<img") == 16
    unbounded = approved(report, "dp-merf", claims=(Claim(math.inf, 0.0),))
    assert "<img" not in public_page(unbounded)
    half = approved(
        report, "dp-merf", claims=(Claim(8.0, 1e-5), Claim(math.inf, 0.0, protects="reference patients"))
    )
    assert "<img" not in public_page(half)
    assert "<img" not in public_page(approved(report, "diffusion"))
    assert "<img" not in public_page(approved(report, "diffusion", claims=(Claim(1.0, 0.0),)), True)


def test_the_person_who_approved_stays_private(report):
    from privagams.report.data import Approval

    done = approved(report, "dp-merf", approval=Approval("Dr. Example", "2026-05-05"))
    assert "Dr. Example" not in public_page(done) + as_json(for_public(done))


def test_report_json_holds_what_third_parties_rely_on(report):
    read = json.loads(as_json(report))
    assert (read["api"], read["pipeline"], read["total"]["epsilon"]) == (1, "breast-regions", 9.4)
    raw, _, merf, _ = read["releases"]
    assert (raw["name"], raw["images"], raw["yardstick"]) == ("raw", 3456, True)
    assert raw["claims"][0]["epsilon"] == "inf"
    assert {"epsilon", "delta", "unit", "adjacency", "accountant", "protects"} <= merf["claims"][0].keys()
    assert "per_element_epsilon" not in merf["claims"][0]
    assert {"attack", "game", "access", "measurements"} <= merf["attacks"][0].keys()
    measured = merf["attacks"][0]["measurements"][0]
    expected = {"name": "auc", "value": 0.507, "low": 0.462, "high": 0.546, "n": 216, "chance": 0.5}
    assert expected.items() <= measured.items()
    assert merf["metrics"][0]["metric"] == "downstream-accuracy"
    assert read["warnings"] == ["3 files could not be read."]
    assert read["provenance"]["seed"] == 7


def test_json_writes_undefined_figures_as_null_and_numpy_numbers_as_numbers(report):
    odd = evolve(report.releases[0].attacks[0].measurements[0], value=math.nan, low=-math.inf, n=np.int64(3))
    attack = evolve(report.releases[0].attacks[0], measurements=(odd,))
    changed = evolve(report, releases=(evolve(report.releases[0], attacks=(attack,)),))
    measured = json.loads(as_json(changed))["releases"][0]["attacks"][0]["measurements"][0]
    assert (measured["value"], measured["low"], measured["n"]) == (None, "-inf", 3)


def test_cards_state_claim_unit_licence_and_no_figure_from_members(report):
    for card in (model_card, data_card):
        text = card(report, report.releases[2], "CC BY 4.0")
        for part in ("ε = 8 (nat)", "unit: patient", "CC BY 4.0", "zero-out", "Not for diagnosis", "99.97 %"):
            assert part in text
        assert [secret for secret in SECRETS if secret in text] == []
        assert "0.507" in card(report, report.releases[2], "CC BY 4.0", include_figures_from_members=True)


def test_names_in_cards_cannot_bring_markup_or_links(report):
    hostile = "<script>x</script>[y](z)|"
    changed = evolve(report, releases=(evolve(report.releases[2], name=hostile),))
    text = data_card(changed, changed.releases[0])
    assert "<script" not in text.replace("\\<", "")
    assert "[y]" not in text.replace("\\[", "").replace("\\]", "")
