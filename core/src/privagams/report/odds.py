"""How a claim is put into words: what somebody could still guess, exactly and for everybody."""

from __future__ import annotations

import math

from privagams.report.data import Claim

WEAK_FROM = 5.0
"""From this ε on a claim is called weak on paper: guesses may be right in more than 99 % of cases."""
STRONG_TO = 1.0
WEAK_DELTA = 0.01


def best_guess(claim: Claim) -> float:
    """Largest share of right guesses of somebody who is undecided (50 : 50) beforehand.

    (e^ε + δ) / (1 + e^ε): every test has found ≤ e^ε · false alarms + δ, and the same with the roles of the
    two cases swapped (Kairouz, Oh and Viswanath 2015, arXiv 1311.0776); the two lines cross there.
    """
    if not claim.bounded:
        return 1.0
    # 1 − (1 − δ)/(1 + e^ε), with e^−ε so that a large ε does not overflow
    shrunk = math.exp(-claim.epsilon)
    # A finite claim never allows certainty, also where a float cannot tell.
    return min(1.0 - (1.0 - claim.delta) * shrunk / (1.0 + shrunk), math.nextafter(1.0, 0.0))


def most_found(claim: Claim, false_alarms: float) -> float:
    """Largest share of used patients that a test with this share of false alarms can find.

    min(e^ε·f + δ, 1 − e^−ε·(1 − δ − f)), same source.
    """
    if not claim.bounded:
        return 1.0
    low_end = math.exp(min(claim.epsilon, 700.0)) * false_alarms + claim.delta
    high_end = 1.0 - math.exp(-claim.epsilon) * max(0.0, 1.0 - claim.delta - false_alarms)
    return min(1.0, low_end, high_end)


def percent_at_most(share: float) -> str:
    """Write an upper bound as per cent, rounded up, so that the words never promise more than the claim."""
    if 1.0 - share < 1e-4:
        return "more than 99.99 %" if share < 1.0 else "100 %"
    digits = 1 if share < 0.99 else 2
    scale = 10**digits
    # The small term keeps 73.1 from becoming 73.2 by the last bit of a float.
    return f"{math.ceil(share * 100 * scale - 1e-9) / scale:.{digits}f} %"


def right_guesses(claim: Claim) -> str:
    """The best guess in a few words: "right guesses: at most 99.97 %"."""
    limit = percent_at_most(best_guess(claim))
    return f"right guesses: {limit if limit.startswith('more') else f'at most {limit}'}"


def _question(claim: Claim) -> str:
    """What the adversary is undecided about, as the adjacency defines it."""
    owner = "a given patient's images were" if claim.unit == "patient" else f"a given {claim.unit} was"
    if "replace" in claim.adjacency:
        # Not "which of two patients": where both are in the data, swapping them replaces two.
        return (
            f"whether the copies of one {claim.unit} were made from this {claim.unit}'s images or from given others "
            "that are not in the data"
        )
    return f"whether {owner} used"


def claim_sentence(claim: Claim, what: str = "this release") -> str:
    """Say in one sentence, for everybody, what the claim promises.

    Guarantee: the sentence never promises more than (ε, δ) does. With δ > 0 it speaks of the share of right
    guesses, which the claim bounds exactly, and not of certainty after one outcome, which it does not bound.
    `test_the_sentence_never_promises_more_than_the_claim` fails without it.
    """
    if not claim.bounded:
        return (
            f"No mathematical protection: nothing limits what {what} tells about a patient, and somebody who "
            f"studies it may become certain {_question(claim)}."
        )
    limit = percent_at_most(best_guess(claim))
    start = f"Whoever is undecided (50 %) {_question(claim)}"
    if limit.startswith("more"):
        end = f"by studying {what} ({limit}): it promises almost nothing."
        return f"{start} may become practically certain {end}"
    end = f"after studying {what}, whatever else they know."
    if claim.delta == 0:
        return f"{start} can be at most {limit} sure {end}"
    return f"{start} will guess right at most {limit} of the time {end}"


def strength(claim: Claim) -> str:
    """One word on the claim alone, before any measurement."""
    if not claim.bounded:
        return "none"
    if _weak(claim):
        return "weak on paper"
    return "strong on paper" if claim.epsilon <= STRONG_TO else "moderate on paper"


def _weak(claim: Claim) -> bool:
    return claim.epsilon >= WEAK_FROM or claim.delta >= WEAK_DELTA


def strength_sentence(claim: Claim) -> str:
    """Say how far the claim carries by itself, and what measured attacks add to it."""
    if not claim.bounded:
        return "Measured attacks show what is possible. They cannot show that anything is impossible."
    if _weak(claim):
        return (
            "On paper this is a weak guarantee: near-certainty stays possible. Where measured attacks do "
            "much worse "
            "than the limit, that is a measurement and not a promise, since better attacks may come. What "
            "is promised "
            "is that no attack, however clever, passes the limit."
        )
    if claim.epsilon <= STRONG_TO:
        return (
            "On paper this is a strong guarantee: it holds against every attack, also those not yet invented."
        )
    return (
        "On paper this is a moderate guarantee: it holds against every attack, also those not yet invented, "
        "and leaves room for a well-informed guess."
    )


def odds_factor(claim: Claim) -> str:
    """The factor e^ε by which betting odds can move, rounded up."""
    if not claim.bounded:
        return "∞"
    if claim.epsilon >= 15:
        return f"10^{math.ceil(claim.epsilon / math.log(10) * 10) / 10:.1f}"
    factor = math.exp(claim.epsilon)
    digits = 0 if factor >= 100 else 2
    return f"{math.ceil(factor * 10**digits - 1e-9) / 10**digits:,.{digits}f}"


def exact_sentence(claim: Claim) -> str:
    """The same for a statistician, with the formula."""
    if not claim.bounded:
        return "ε = ∞ or δ = 1: no bound on any likelihood ratio."
    odds = odds_factor(claim)
    if claim.delta == 0:
        return (
            f"Betting odds move by a factor of at most e^ε = {odds}: from 1 : 1 to at most {odds} : 1, "
            f"a probability of e^ε/(1+e^ε) = {percent_at_most(best_guess(claim))}."
        )
    return (
        "The release tells no more than this game: with probability δ the truth is told outright; "
        "otherwise betting "
        f"odds move by a factor of at most e^ε = {odds}, from 1 : 1 to at most e^ε/(1+e^ε). Over both "
        "cases, right "
        f"guesses are at most (e^ε+δ)/(1+e^ε) = {percent_at_most(best_guess(claim))}."
    )


def delta_warning(claim: Claim, patients: int) -> str | None:
    """Warn when δ is so large that telling one whole patient openly would satisfy the claim."""
    if not claim.bounded or patients <= 0 or claim.delta * patients < 1:
        return None
    return (
        f"δ = {claim.delta:g} is not below 1/{patients:,} (one patient): a release that publishes one "
        "randomly chosen "
        "patient in full could satisfy such a claim. Choose a smaller δ."
    )
