"""What must stand beside a report's figures for them to be read rightly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from privagams.judge import Family, Verdict
from privagams.judge.gate import Tested
from privagams.pipeline import ReleaseSettings
from privagams.report import data


def gate_word(tests: Sequence[Tested]) -> Literal["passed", "failed", "beyond reach", ""]:
    if not tests:
        return ""
    if any(test.refused for test in tests):
        return "failed"
    return "passed" if any(test.could_refuse for test in tests) else "beyond reach"


def best_of_words(family: Family | None) -> str:
    """What remains of the strongest attack on membership after it was chosen from several."""
    if family is None:
        return ""
    p_value = family.adjusted_p[family.best]
    said = (
        f"Of {len(family.adjusted_p)} attacks on membership, {family.best} separates members best. "
        "Judged as the best of so many, "
    )
    if p_value > 0.05:
        return f"{said}that is no more than luck explains (p = {p_value:.2f})."
    if family.direction == "lower":
        return (
            f"{said}members score lower than luck explains (p = {p_value:.2g}), which betrays them too: "
            f"one less its AUC is at least {family.low:.2f}."
        )
    return f"{said}it still does better than luck (p = {p_value:.2g}); its AUC is at least {family.low:.2f}."


def notes_on(release: ReleaseSettings, verdict: Verdict) -> tuple[str, ...]:
    """What must stand beside an attack's figures for them to be read rightly."""
    if verdict.access == "released" or release.weights:
        return ()
    return (
        "Worst case: the attack asks the model itself, which this release would not give away; whoever has only the "
        "images has less.",
    )


def needed_patients(noise_to_signal: float | None, patients: int) -> data.Needed | None:
    """How many patients it takes for the noise on one step to be no larger than the largest signal."""
    if noise_to_signal is None or noise_to_signal <= 1:
        return None
    needed = round(float(f"{noise_to_signal * patients:.2g}"))
    return data.Needed(
        needed,
        f"In each training step the noise is about {noise_to_signal:.0f} times as large as the strongest signal that "
        f"{patients:,} patients can give. With about {needed:,} patients, at the same ε and the same share of patients "
        "in a step, the two would be equal.",
    )
