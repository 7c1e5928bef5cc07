"""How figures, shares and intervals are written, and how wide an interval may be before it says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from privagams.evidence import Measurement

WIDE = 0.4
"""An interval wider than this says nothing that one could act on."""


def figure(measurement: Measurement) -> str:
    """A measurement as "top-1 0.62 (95 % interval 0.51–0.72; guessing 0.01)"."""
    chance = "" if measurement.chance is None else f"; guessing {measurement.chance:.2f}"
    return f"{measurement.name} {measurement.value:.2f} ({interval(measurement)}{chance})"


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


def interval(found: Measurement) -> str:
    """The interval as "95 % interval 0.51–0.72"."""
    return f"95 % interval {found.low:.2f}–{found.high:.2f}"


def percents(found: Measurement) -> str:
    """The interval of a share as "95 % interval 51–72 %"."""
    return f"95 % interval {percent(found.low)}–{percent(found.high)}".replace(" %–", "–")
