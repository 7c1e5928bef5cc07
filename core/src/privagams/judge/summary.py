"""Which of many attacks speaks for a release, and whether having tried so many explains what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privagams.evidence import Measurement
from privagams.judge.phrases import WIDE, figure, percent
from privagams.splits import SAME_IMAGE

if TYPE_CHECKING:
    from privagams.judge.verdict import Verdict

_LEVEL = 0.05


def adversary(verdicts: Sequence[Verdict]) -> str:
    """What an adversary could do with a release, on average and to the worst-off, by its strongest attack.

    Success is said only of an attack whose p-value times the number of attacks is at most 0.05 (Bonferroni), so
    that attacks which all know nothing are said to succeed in at most 5 % of reports; with the judge's 2,000
    permutations that can be met by up to 100 attacks. Strongest: whose interval begins farthest on the way from
    guessing to certainty. Results that a blind attack reaches too, and canaries, say nothing about patients and
    are left out.
    """
    seen = [v for v in verdicts if v.measurements and v.interpretable and v.private]
    told = [(v, v.headline) for v in seen if v.headline is not None]
    if not seen:
        return "No attack on this release gave a result that can be interpreted."
    if not told:
        return max(seen, key=lambda v: _way(v.measurements[0], "low")).sentence
    shown = [(v, head) for v, head in told if _succeeds(head, v.p_value, len(told))]
    if not shown:
        return _nothing_shown(told) + _easy_case(seen)
    best = max(shown, key=lambda one: _way(one[1], "low"))[0]
    number = f"The strongest of {len(told)} attacks" if len(told) > 1 else "The one attack made"
    worst = f" {best.worst_off}" if best.worst_off else ""
    return (
        f"{number} ({best.attack}): {best.sentence[:1].lower()}{best.sentence[1:]}{worst}{_easy_case(seen)}"
    )


def _succeeds(found: Measurement, p_value: float | None, attacks: int) -> bool:
    """Whether the attack does better than guessing even as one of so many."""
    if p_value is None or p_value * attacks > _LEVEL:
        return False
    # The p-value of copies is that of the mean reciprocal rank, which can tell where top-1 cannot yet.
    return found.name == "top-1" or _way(found, "low") > 0


def _nothing_shown(told: Sequence[tuple[Verdict, Measurement]]) -> str:
    attack, top = max(((v.attack, head) for v, head in told), key=lambda one: _way(one[1], "high"))
    narrowest = min(head.high - head.low for _, head in told if head.name == top.name)
    few = " These are too few patients to tell." if narrowest > WIDE else ""
    if len(told) == 1:
        return (
            f"The one attack made ({attack}) could not be shown to do better on these patients than guessing: "
            f"{figure(top)}.{few}"
        )
    return (
        f"None of {len(told)} attacks, counted together, could be shown to do better on these patients than guessing; "
        f"the data leave room for up to {percent(_way(top, 'high'))} of the way from guessing to certainty "
        f"({attack}: {figure(top)}).{few}"
    )


def _easy_case(seen: Sequence[Verdict]) -> str:
    """The strongest result against an adversary who holds the very images; empty where there is none."""
    marked = [(v, m) for v in seen if (m := _first_marked(v)) is not None]
    sure = [
        (v.attack, m) for v, m in marked if _succeeds(m, v.p_same_image, len(marked)) and _way(m, "low") > 0
    ]
    if not sure:
        return ""
    attack, found = max(sure, key=lambda one: _way(one[1], "low"))
    return (
        " In the easy case, where the adversary holds the very images in question or another part of them, "
        f"{attack} reaches {figure(found)}."
    )


def _first_marked(verdict: Verdict) -> Measurement | None:
    return next((m for m in verdict.measurements if m.note.startswith(SAME_IMAGE)), None)


def _way(found: Measurement, end: str) -> float:
    """How far one end of an interval is on the way from guessing to certainty; an AUC below one half is turned over."""
    chance = found.chance or 0.0
    low, high = found.low, found.high
    if found.name == "auc":
        low, high = (1 - high, 1 - low) if high < chance else (low, max(high, 1 - low))
    return ((low if end == "low" else high) - chance) / max(1 - chance, 1e-9)
