"""The judge's figures as sentences that a reader without statistics understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from privagams.evidence import Measurement

if TYPE_CHECKING:
    from privagams.judge.blind import Blind
    from privagams.judge.gate import Gate, Tested
    from privagams.judge.verdict import Verdict

_WIDE = 0.4
"""An interval wider than this says nothing that one could act on."""
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
            f"({_interval(found)}; luck alone would give {found.chance:.2f}): 1 means always picked first."
        )
    return (
        f"{percent(found.value)} of members score above every non-member "
        f"({_percents(found)}; luck alone would give {percent(found.chance or 0.0)})."
    )


def adversary(verdicts: Sequence[Verdict]) -> str:
    """What an adversary could do with a release, on average and to the worst-off, by its strongest attack.

    Strongest: whose interval begins farthest on the way from guessing to certainty; results that a blind attack
    reaches too, and canaries, say nothing about patients and are left out.
    """
    told = [v for v in verdicts if v.headline is not None and v.interpretable and v.private]
    if not told:
        cases = [v.sentence for v in verdicts if v.measurements and v.interpretable and v.private]
        return cases[0] if cases else "No attack on this release gave a result that can be interpreted."
    best = max(told, key=lambda v: _way(v.headline, "low") if v.headline else 0.0)
    head = best.headline
    assert head is not None
    number = f"{len(told)} attack{'s' if len(told) > 1 else ''}"
    if _way(head, "low") <= 0:
        open_ = max(told, key=lambda v: _way(v.headline, "high") if v.headline else 0.0)
        top = open_.headline
        assert top is not None
        return (
            f"None of {number} did better on these patients than guessing; the data leave room for up to "
            f"{percent(_way(top, 'high'))} of the way from guessing to certainty ({open_.attack}: {figure(top)})."
            if len(told) > 1
            else f"The one attack made ({open_.attack}) did no better on these patients than guessing: {figure(top)}."
        )
    strongest = (
        f"The strongest of {number} ({best.attack})"
        if len(told) > 1
        else f"The one attack made ({best.attack})"
    )
    worst = f" {best.worst_off}" if best.worst_off else ""
    return f"{strongest}: {_uncapitalised(best.sentence)}{worst}"


def of_canaries(shown: float, canaries: int, largest: float, claimed: float) -> str:
    """What an audit by planted canaries came to."""
    said = f"ε = {claimed:g} is claimed" if claimed < float("inf") else "nothing is claimed"
    if shown <= 0:
        found = f"An audit with {canaries} planted records found no leak"
    else:
        found = f"An audit with {canaries} planted records shows a leak of at least ε = {shown:.2f}"
    verdict = "; that is more than was claimed, at 95 % confidence" if shown > claimed else ""
    return f"{found} ({said}{verdict}; at most {largest:.2f} could have been shown with so many)."


def of_gate(gate: Gate) -> str:
    """What the comparison of measured bounds with claims came to."""
    if not gate.tests:
        return "No release with a finite claim was attacked, so no claim was put to the test."
    count = len(gate.tests)
    tests = f"{count} bound{'s' if count > 1 else ''} tested as one family at {gate.level:g}"
    reach = f"With these patients the tests could at most have shown an ε of {gate.largest_epsilon:.2g}"
    if not gate.refused:
        return (
            f"{tests}: none contradicts its claim. {reach}; "
            "a claim above that is neither confirmed nor contradicted by them."
        )
    worst = "; ".join(_contradiction(test) for test in gate.refused)
    return f"{tests}: REFUSED, the attack succeeds more than the claim allows ({worst}). {reach}."


def _contradiction(test: Tested) -> str:
    bound = test.bound
    where = f"{bound.attack} on {bound.release}"
    if bound.strength.statistic == "guesses":
        return f"{where}: guesses that take an ε of at least {test.lower:.3f}, where {bound.epsilon:g} is claimed"
    return (
        f"{where}: {bound.strength.statistic} of at least {test.lower:.3f}, "
        f"where ε = {bound.epsilon:g} allows {test.cap:.3f}"
    )


def figure(measurement: Measurement) -> str:
    """A measurement as "top-1 0.62 (95 % interval 0.51–0.72; guessing 0.01)"."""
    chance = "" if measurement.chance is None else f"; guessing {measurement.chance:.2f}"
    return f"{measurement.name} {measurement.value:.2f} ({_interval(measurement)}{chance})"


def percent(share: float) -> str:
    """A share as "62 %", with a decimal below 10 %, and never rounded to nought or all."""
    for digits, lowest in ((0, 0.0995), (1, 0.0)):
        if share >= lowest:
            text = f"{100 * share:.{digits}f}"
            break
    if share < 1 and float(text) == 100:
        return "over 99 %"
    if share > 0 and float(text) == 0:
        return "under 0.1 %"
    return f"{text.removesuffix('.0')} %"


def joined(names: Sequence[str], word: str) -> str:
    """Names as "a, b or c"."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _headline(about: About, measurements: Sequence[Measurement], p_value: float) -> str:
    found = measurements[0]
    if about.game == "attribute":
        return _learned(about, {m.name: m for m in measurements}, p_value)
    if "every score is the same" in found.note:
        return "This attack gave every patient the same score, so it tells nobody from anybody."
    if about.copies:
        return _linked(about, found, p_value)
    figures = f"AUC {found.value:.2f} ({_interval(found)}; guessing 0.50)"
    nearer = "is closer to" if about.game == "linkage" else "fits"
    held = _HELD.get(about.relation, "images of these patients")
    if found.high - found.low > _WIDE:
        return (
            f"Too few patients ({found.n}) to say whether the release {nearer} members "
            f"rather than non-members: {figures}."
        )
    if about.game == "linkage":
        return _closer(held, found, figures)
    return _told_apart(about, found, figures) + _calls({m.name: m for m in measurements})


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
    if gap.high - gap.low > _WIDE:
        few = right.n + control.n
        return (
            f"Too few patients ({few}) to say whether the release teaches the {about.attribute} of members: "
            f"{figures}."
        )
    if p_value < 0.05 and gap.low > 0:
        return (
            f"The release teaches the {about.attribute} of members beyond what holds for everybody: {figures}, "
            f"an excess of {percent(gap.value)} ({_percents(gap)})."
        )
    return (
        f"An adversary learns the {about.attribute} of members no better than of patients who took no part: "
        f"{figures}; an excess of up to {percent(gap.high)} cannot be ruled out."
    )


def _linked(about: About, found: Measurement, p_value: float) -> str:
    held = _HELD.get(about.relation, "images of these patients")
    chance = percent(found.chance or 0.0)
    said = (
        f"An adversary who holds {held} picks the right patient first in {percent(found.value)} of cases "
        f"({_percents(found)}; guessing would give {chance})."
    )
    if found.high - found.low > _WIDE:
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


def _way(found: Measurement | None, end: str) -> float:
    """How far one end of an interval is on the way from guessing to certainty; an AUC below one half is turned over."""
    if found is None:
        return 0.0
    chance = found.chance or 0.0
    low, high = found.low, found.high
    if found.name == "auc":
        low, high = (1 - high, 1 - low) if high < chance else (low, max(high, 1 - low))
    return ((low if end == "low" else high) - chance) / max(1 - chance, 1e-9)


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _interval(found: Measurement) -> str:
    return f"95 % interval {found.low:.2f}–{found.high:.2f}"


def _percents(found: Measurement) -> str:
    return f"95 % interval {percent(found.low)}–{percent(found.high)}".replace(" %–", "–")
