"""The judge's figures as sentences that a reader without statistics understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from privagams.evidence import Measurement

if TYPE_CHECKING:
    from privagams.judge.gate import Gate

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


def sentence(
    about: About, measurements: Sequence[Measurement], marked: Sequence[Measurement], p_value: float
) -> str:
    """The headline in one or two sentences; falls back to what was marked "same image", and says so."""
    if measurements:
        return _headline(about, measurements[0], p_value)
    if marked:
        return (
            "No patient could be tested with images other than the released ones. With the other half of "
            f"the same image, an easy case that counts as no result: {figure(marked[0])}."
        )
    return (
        "Nobody could be tested: it takes patients with several slides or images, "
        "members and non-members among them."
    )


def worst_off(about: About, measurements: Sequence[Measurement]) -> str:
    """What the worst-off patients face, beside the average; empty when nobody could be tested."""
    found = next((m for m in measurements if m.name == "worst-off"), None)
    if found is None:
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
    worst = "; ".join(
        f"{test.bound.attack} on {test.bound.release}: {test.bound.strength.statistic} of at least "
        f"{test.lower:.3f}, where ε = {test.bound.epsilon:g} allows {test.cap:.3f}"
        for test in gate.refused
    )
    return f"{tests}: REFUSED, the attack succeeds more than the claim allows ({worst}). {reach}."


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


def _headline(about: About, found: Measurement, p_value: float) -> str:
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
    return _told_apart(found, figures)


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


def _told_apart(found: Measurement, figures: str) -> str:
    if found.low > 0.5:
        return f"An adversary can tell members from non-members better than by guessing: {figures}."
    if found.high < 0.5:
        return f"Members score lower than non-members, which betrays them too: {figures}."
    return (
        f"This attack was not found to tell members from non-members: {figures}; "
        f"up to {found.high:.2f} cannot be ruled out."
    )


def _interval(found: Measurement) -> str:
    return f"95 % interval {found.low:.2f}–{found.high:.2f}"


def _percents(found: Measurement) -> str:
    return f"95 % interval {percent(found.low)}–{percent(found.high)}".replace(" %–", "–")
