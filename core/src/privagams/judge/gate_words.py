"""What the gate and the audits came to, in sentences that claim no more than was tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privagams.judge.gate import Gate, Tested


def of_canaries(shown: float, canaries: int, largest: float, claimed: float) -> str:
    """What an audit by planted canaries came to."""
    said = f"ε = {claimed:g} is claimed" if claimed < float("inf") else "nothing is claimed"
    if shown <= 0:
        found = f"An audit with {canaries} planted records found no leak"
    else:
        found = f"An audit with {canaries} planted records shows a leak of at least ε = {shown:.2f}"
    verdict = "; that is more than was claimed, at 95 % confidence" if shown > claimed else ""
    return f"{found} ({said}{verdict}; at most {largest:.2f} could have been shown with so many)."


def of_gate(gate: Gate, faults: int = 0, uninterpretable: int = 0) -> str:
    """What the comparison of measured bounds with claims came to.

    `faults`: releases whose mechanism was found at fault by its audit, which no measured bound takes part in;
    `uninterpretable`: attacks not tested, since a blind attack tells members apart as well.
    """
    found = _of_tests(gate, uninterpretable) if gate.tests else _of_none(uninterpretable)
    return f"{found}{_of_faults(faults)}"


def _of_none(uninterpretable: int) -> str:
    if uninterpretable:
        return (
            f"No claim was put to the test: {_unread(uninterpretable)} members differ from non-members already "
            "without any release, as a blind attack shows, so that no bound could be tested."
        )
    return "No release with a finite claim was attacked, so no claim was put to the test."


def _of_tests(gate: Gate, uninterpretable: int) -> str:
    count = len(gate.tests)
    tests = f"{count} bound{'s' if count > 1 else ''} tested as one family at {gate.level:g}"
    reach = f"The tests could at most have shown an ε of {gate.largest_epsilon:.2g}"
    left = (
        f" Besides, {_unread(uninterpretable)} members differ from non-members already without any release, and no "
        "bound was tested."
        if uninterpretable
        else ""
    )
    if gate.refused:
        worst = "; ".join(_contradiction(test) for test in gate.refused)
        return f"{tests}: REFUSED, the attack succeeds more than the claim allows ({worst}). {reach}.{left}"
    able = sum(test.could_refuse for test in gate.tests)
    if able == 0:
        return (
            f"{tests}: none could have contradicted its claim, however well the attack had done. {reach}, and every "
            f"claim is above what its test could show: they are neither confirmed nor contradicted.{left}"
        )
    within = f"for {able} of {count} the claim is low enough that they could have"
    if able < count:
        within += ", and what the others tested is neither confirmed nor contradicted"
    return f"{tests}: none contradicts its claim; {within}. {reach}.{left}"


def _unread(attacks: int) -> str:
    return f"for {attacks} attack{'s' if attacks > 1 else ''}"


def _of_faults(releases: int) -> str:
    if not releases:
        return ""
    which = "1 release was" if releases == 1 else f"{releases} releases was"
    return f" REFUSED apart from measured bounds: the mechanism of {which} found at fault by its audit."


def _contradiction(test: Tested) -> str:
    bound = test.bound
    where = f"{bound.attack} on {bound.release}"
    if bound.strength.statistic == "guesses":
        return (
            f"{where}: guesses that take an ε of at least {test.lower:.3f} at δ = {bound.delta:g}, "
            f"where {bound.epsilon:g} is claimed"
        )
    return (
        f"{where}: {bound.strength.statistic} of at least {test.lower:.3f}, "
        f"where ε = {bound.epsilon:g} allows {test.cap:.3f}"
    )
