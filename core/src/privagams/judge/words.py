"""The judge's figures as sentences that a reader without statistics understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from privagams.evidence import Measurement
from privagams.judge.gate_words import of_canaries, of_gate
from privagams.judge.phrases import WIDE, figure, interval, joined, percent, percents
from privagams.judge.summary import adversary

if TYPE_CHECKING:
    from privagams.judge.blind import Blind

__all__ = [
    "About",
    "adversary",
    "figure",
    "joined",
    "of_canaries",
    "of_gate",
    "percent",
    "sentence",
    "worst_off",
]

_HELD = {
    "other slide": "other slides of these patients",
    "other image": "other images of these patients",
    "other image or other slide": "other slides or images of these patients",
}


@frozen
class About:
    """What a sentence must know of an attack besides its figures."""

    game: str
    copies: bool
    """Whether each released item has one true patient."""
    relation: str
    same_image: bool
    holds: str = "other images"
    attribute: str = ""
    members: int = 0
    others: int = 0
    blind: Blind | None = None
    """A blind attack that succeeds, where there is one: then the figures do not speak of the release."""


def sentence(
    about: About, measurements: Sequence[Measurement], marked: Sequence[Measurement], p_value: float
) -> str:
    """The headline in one or two sentences; falls back to what was marked "same image", and says so."""
    if measurements and about.blind is not None:
        return _not_interpretable(about.blind, measurements[0])
    if measurements:
        return _headline(about, measurements, p_value)
    if marked and about.holds == "all images":
        return (
            f"The worst case, in which the adversary already holds the very images in question: {figure(marked[0])}. "
            "It counts as no result about patients of whom other images are held."
        )
    if marked:
        return (
            "No patient could be tested with images other than the released ones. With the other half of "
            f"the same image, an easy case that counts as no result: {figure(marked[0])}."
        )
    return f"Nobody could be tested: {_why_nobody(about)}."


def worst_off(about: About, measurements: Sequence[Measurement]) -> str:
    """What the worst-off patients face, beside the average; empty when nobody could be tested."""
    found = next((m for m in measurements if m.name == "worst-off"), None)
    if found is None or about.blind is not None:
        return ""
    if about.copies:
        return (
            f"For the worst-off {found.n} of these patients the mean reciprocal rank is {found.value:.2f} "
            f"({interval(found)}; luck alone would give {found.chance:.2f}): 1 means always picked first."
        )
    return (
        f"{percent(found.value)} of members score above every non-member "
        f"({percents(found)}; luck alone would give {percent(found.chance or 0.0)})."
    )


def _headline(about: About, measurements: Sequence[Measurement], p_value: float) -> str:
    found = measurements[0]
    if about.game == "attribute":
        return _learned(about, {m.name: m for m in measurements}, p_value)
    if "every score is the same" in found.note:
        return "This attack gave every patient the same score, so it tells nobody from anybody."
    if about.copies:
        return _linked(about, found, p_value)
    figures = f"AUC {found.value:.2f} ({interval(found)}; guessing 0.50)"
    nearer = "is closer to" if about.game == "linkage" else "fits"
    if found.high - found.low > WIDE and found.low <= 0.5 <= found.high:
        return (
            f"Too few patients ({found.n}) to say whether the release {nearer} members "
            f"rather than non-members: {figures}."
        )
    if about.game == "linkage":
        return _closer(_held(about), found, figures)
    return _told_apart(about, found, figures) + _calls({m.name: m for m in measurements})


def _held(about: About) -> str:
    if about.holds == "all images" and not about.copies:
        return "all images of these patients, the training images among them,"
    return _HELD.get(about.relation, "images of these patients")


def _calls(found: dict[str, Measurement]) -> str:
    if "found" not in found or "control" not in found:
        return ""
    return (
        f" By its own threshold it calls {percent(found['found'].value)} of members, "
        f"and {percent(found['control'].value)} of patients who took no part."
    )


def _not_interpretable(blind: Blind, found: Measurement) -> str:
    return (
        "Not interpretable: members differ from non-members already without the release. An attack that never "
        f"sees it tells them apart ({figure(blind.measurement)}; p = {blind.p_value:.2g}), so what this attack "
        f"finds ({figure(found)}) may be that difference and no leak."
    )


def _why_nobody(about: About) -> str:
    if about.copies:
        return "the adversary holds images of none of the released patients, or of one patient only"
    if about.members + about.others < 2:
        return "it takes more than one patient of whom images are held"
    if about.others == 0:
        return f"there are {about.members} members of whom images are held and no non-members to compare them with"
    if about.members == 0:
        return f"there are {about.others} non-members of whom images are held and no members"
    if about.game == "attribute":
        return f"the {about.attribute or 'attribute'} is known of no member, or of no non-member"
    return "it takes patients with several slides or images, members and non-members among them"


def _learned(about: About, found: dict[str, Measurement], p_value: float) -> str:
    right, control, gap = found["accuracy"], found["control"], found["excess"]
    figures = f"right for {percent(right.value)} of members and {percent(control.value)} of the others"
    if gap.high - gap.low > WIDE:
        few = right.n + control.n
        return (
            f"Too few patients ({few}) to say whether the release teaches the {about.attribute} of members: "
            f"{figures}."
        )
    if p_value < 0.05 and gap.low > 0:
        return (
            f"The release teaches the {about.attribute} of members beyond what holds for everybody: {figures}, "
            f"an excess of {percent(gap.value)} ({percents(gap)})."
        )
    return (
        f"An adversary learns the {about.attribute} of members no better than of patients who took no part: "
        f"{figures}; an excess of up to {percent(gap.high)} cannot be ruled out."
    )


def _linked(about: About, found: Measurement, p_value: float) -> str:
    held = _held(about)
    chance = percent(found.chance or 0.0)
    said = (
        f"An adversary who holds {held} picks the right patient first in {percent(found.value)} of cases "
        f"({percents(found)}; guessing would give {chance})."
    )
    if found.high - found.low > WIDE:
        said += f" With {found.n} patients tested, the range is too wide to rely on the figure."
    if p_value > 0.05:
        said += " That is no more than luck explains."
    return said


def _closer(held: str, found: Measurement, figures: str) -> str:
    if found.low > 0.5:
        return f"The release is closer to {held} when they are members than when they are not: {figures}."
    if found.high < 0.5:
        return f"The release is farther from {held} when they are members, which betrays them too: {figures}."
    return (
        f"The release was not found closer to members than to non-members, judged by {held}: {figures}; "
        f"up to {found.high:.2f} cannot be ruled out."
    )


def _told_apart(about: About, found: Measurement, figures: str) -> str:
    if found.low > 0.5 and about.game == "extraction":
        return f"The release repeats images of members more closely than of patients who took no part: {figures}."
    if found.low > 0.5:
        return f"An adversary can tell members from non-members better than by guessing: {figures}."
    if found.high < 0.5:
        return f"Members score lower than non-members, which betrays them too: {figures}."
    finding = "repeat members' images" if about.game == "extraction" else "tell members from non-members"
    return f"This attack was not found to {finding}: {figures}; up to {found.high:.2f} cannot be ruled out."
