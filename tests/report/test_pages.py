import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from attrs import evolve

from privagams.evidence import Measurement
from privagams.report.data import Claim, Examples, Release
from privagams.report.files import write_report
from privagams.report.pages import headline, public_page, steward_page
from privagams.report.wording import MARK, MARK_MEANS, NOT_PROTECTED, epsilon, figure, power_of_ten

SECTIONS = (
    "decide", "claims", "attacks", "utility", "examples",
    "worst", "unprotected", "untested", "words", "provenance",
)  # fmt: skip


class Page(HTMLParser):
    """Collects what a page is made of, and checks that its elements nest."""

    EMPTY = ("meta", "img", "br", "line", "rect", "circle", "path", "polyline")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.ids, self.links, self.alts = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.alts += [found.get("alt")] if tag == "img" else []
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def without_images(page):
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def changed(report, which, **changes):
    return evolve(
        report, releases=tuple(evolve(r, **changes) if r.name == which else r for r in report.releases)
    )


@pytest.mark.parametrize("page", [steward_page, public_page, lambda r: public_page(r, True)])
def test_pages_name_no_outside_address_and_run_nothing(report, page):
    text = without_images(page(report))
    assert not re.search(r"https?:|//|url\(|@import|javascript:|<script|<link|<iframe|\son\w+=", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


def test_every_section_is_there_and_every_link_leads_to_one(report):
    page = Page(steward_page(report))
    assert set(SECTIONS) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_every_measurement_is_printed_with_interval_and_n(report):
    words = Page(steward_page(report)).words
    for release in report.releases:
        for result in (*release.attacks, *release.metrics):
            for m in result.measurements:
                for part in (m.value, m.low, m.high):
                    assert figure(part) in words
                assert re.search(rf"{m.n:,} (patient|canarie)s", words)
                assert m.note in words


def test_every_claim_is_printed_with_its_terms(report):
    words = Page(steward_page(report)).words
    for release in report.releases:
        for claim in (*release.claims, *([release.total] if release.total else [])):
            for part in (
                epsilon(claim.epsilon),
                power_of_ten(claim.delta),
                claim.adjacency,
                claim.accountant,
            ):
                assert part in words
    assert "under replace-one ε = 15.2" in words


def test_every_figure_from_members_is_marked_and_the_mark_explained(report):
    page = steward_page(report)
    assert f"0.970<sup>{MARK}</sup>" in page
    assert MARK_MEANS in Page(page).words
    # The canaries' audit saw no member.
    assert f"0.410<sup>{MARK}</sup>" not in page


def test_every_standing_limit_and_untested_attack_is_listed(report):
    words = Page(steward_page(report)).words
    for sentence in (*NOT_PROTECTED, *report.not_protected):
        assert " ".join(sentence.split()) in words
    assert "32 shadow models would take 41 h" in words
    assert "not measured: tpr@0.01: 4 non-member patients are too few" in words


def test_the_steward_sees_the_command_for_what_waits_and_none_for_what_was_refused(report):
    waits = Page(steward_page(evolve(report, approve_options="--pipeline b.toml"))).words
    assert 'privagams approve dp-merf --by "YOUR NAME" --pipeline b.toml' in waits
    refused = Page(steward_page(changed(report, "dp-merf", status="refused by gate"))).words
    assert "privagams approve dp-merf" not in refused
    assert "It cannot be approved." in refused


def test_names_that_carry_markup_are_shown_as_text(report):
    hostile = "<script>alert(1)</script>"
    page = steward_page(changed(evolve(report, pipeline=hostile), "dp-merf", name=hostile, notes=(hostile,)))
    assert "<script" not in page
    assert "script" not in Page(page).tags
    assert Page(page).words.count(hostile) >= 3


def test_a_hostile_name_cannot_smuggle_a_shell_command(report):
    words = Page(steward_page(changed(report, "dp-merf", name="x; rm -rf y"))).words
    assert "privagams approve 'x; rm -rf y'" in words


def test_images_of_raw_or_randomised_copies_are_refused(report):
    drawn = Examples(np.zeros((2, 8, 8, 3), np.uint8))
    claim = (Claim(1.0, 0.0),)
    for kind in ("raw copies", "randomised copies"):
        with pytest.raises(ValueError, match="only drawn images may be shown"):
            Release("x", kind, "waiting for approval", 2, claims=claim, examples=drawn)
        with pytest.raises(ValueError, match="only drawn images may be shown"):
            evolve(Release("x", "drawn images", "approved", 2, claims=claim, examples=drawn), kind=kind)


def test_a_release_without_claim_is_refused_unless_it_is_a_yardstick():
    with pytest.raises(ValueError, match="expected a claim"):
        Release("x", "drawn images", "waiting for approval", 2)


def test_an_unbounded_claim_is_shown_as_no_protection(report):
    page = Page(steward_page(changed(report, "dp-merf", claims=(Claim(math.inf, 0.0),), total=None))).words
    assert page.count("No mathematical protection") == 3


def test_an_interval_too_wide_to_tell_is_said_to_be_so(report):
    words = Page(steward_page(report)).words
    assert "nothing can be said: from guessing to a real leak, all is possible; only 8 patients" in words


def test_an_auc_below_one_half_is_not_passed_off_as_safe(report):
    attack = evolve(
        report.releases[2].attacks[0], measurements=(Measurement("auc", 0.2, 0.1, 0.3, 216, chance=0.5),)
    )
    words = Page(steward_page(changed(report, "dp-merf", attacks=(attack,)))).words
    assert "below guessing, which tells something too" in words


def test_a_same_image_figure_does_not_lead_where_another_exists(report):
    easy = Measurement("auc", 0.99, 0.97, 1.0, 216, chance=0.5, note="same image")
    attack = report.releases[2].attacks[0]
    release = evolve(report.releases[2], attacks=(evolve(attack, measurements=(easy, *attack.measurements)),))
    assert headline(release)[1].value == 0.507


def test_a_delta_as_large_as_one_patient_is_warned_about_once(report):
    page = Page(steward_page(changed(report, "dp-merf", claims=(Claim(2.0, 0.01),)))).words
    assert page.count("dp-merf: δ = 0.01 is not below 1/400") == 1


def test_pages_stand_with_nothing_but_a_claim(report):
    bare = evolve(
        report,
        releases=(Release("only", "model", "waiting for approval", 5, claims=(Claim(1.0, 0.0),)),),
        budget=None, total=None, alone=None, failures=None, gate=None, selftest=None, counts=(), plugins=(),
        not_run=(), warnings=(), provenance=evolve(report.provenance, stages=(), hashes={}, versions={}),
    )  # fmt: skip
    assert set(SECTIONS) <= set(Page(steward_page(bare)).ids)
    assert "at most 73.2 % sure" in Page(public_page(bare)).words


def test_undefined_and_infinite_figures_do_not_break_the_pages(report):
    odd = (
        Measurement("auc", math.nan, math.nan, math.nan, 0, chance=0.5),
        Measurement("epsilon-lower-bound", 1.0, 0.0, math.inf, 9),
        Measurement("kid", -0.5, -0.9, -0.1, 12, chance=2.5),
    )
    attack = evolve(report.releases[2].attacks[0], measurements=odd, caps={"epsilon-lower-bound": math.inf})
    assert "not defined" in Page(steward_page(changed(report, "dp-merf", attacks=(attack,)))).words


def test_every_image_has_words_and_grey_ones_work(report):
    grey = Examples(np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1), ("a", "b", "a"))
    page = Page(steward_page(changed(report, "dp-merf", examples=grey)))
    assert len(page.alts) == 16 + 3 + 16
    assert all(page.alts)


def test_at_most_eight_examples_of_a_class_are_shown(report):
    many = Examples(np.zeros((100, 4, 4, 3), np.uint8), tuple(f"c{i % 2}" for i in range(100)))
    page = Page(steward_page(changed(report, "dp-merf", examples=many)))
    assert len(page.alts) == 16 + 16 + 16


def test_two_writes_of_one_report_are_byte_identical(report, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        written = write_report(report, folder)
        assert sorted(p.name for p in folder.iterdir()) == sorted(written)
    for name in written:
        assert (first / name).read_bytes() == (second / name).read_bytes()
