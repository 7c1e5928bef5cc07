"""Lower bounds on ε from canaries: records of which a fair coin decided whether they took part."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from attrs import frozen
from scipy.optimize import brentq
from scipy.special import betaincinv, log_ndtr, ndtr, ndtri
from scipy.stats import binom

LOWER_BOUND = "epsilon-lower-bound"
ONE_RUN, F_DP, GAUSSIAN, CLOPPER_PEARSON = "one-run", "f-dp", "gaussian", "clopper-pearson"

_LARGEST = 1e4
_TINY = 1e-3
"""A µ below this is taken for 0: its ε at any δ of use is nought, and its equation cannot be solved in floats."""


@frozen
class AuditBound:
    """An ε that the mechanism certainly loses, up to a stated error, if the assumption holds."""

    method: str
    epsilon: float
    assumption: str


_ASSUMPTIONS = {
    ONE_RUN: "Holds for any mechanism: each canary took part by a fair coin of its own.",
    F_DP: "Holds if the mechanism is Gaussian differentially private, as a sum with Gaussian noise is: "
    "the ε is read off the Gaussian trade-off curve; each canary took part by a fair coin of its own.",
    GAUSSIAN: "Holds if the mechanism is Gaussian differentially private and each canary's score is a trial "
    "of its own, which in a single run is only roughly so.",
    CLOPPER_PEARSON: "Holds if each canary's score is a trial of its own, which in a single run is only "
    "roughly so.",
}  # fmt: skip


def guess_counts(m: int) -> tuple[int, ...]:
    """How many of m canaries are guessed: m/32, m/16, m/8, m/4 and m/2, fixed before any score is seen."""
    return tuple(sorted({m // share for share in (32, 16, 8, 4, 2)} - {0})) or (1,)


def audit_bounds(
    scores: np.ndarray, included: np.ndarray, delta: float, miss: float = 0.05
) -> tuple[AuditBound, ...]:
    """Bound ε at δ by every method from m canaries; each bound exceeds the truth with probability ≤ `miss`.

    scores: "m", higher = believed to have taken part; included: bool "m", set by independent fair coins.
    The best of the pre-registered guess counts is taken, at miss / their number (Bonferroni). At δ = 0 no
    Gaussian mechanism has a finite ε, so the two methods that assume one are left out.
    """
    counts, right = guesses_right(scores, included)
    m, each = len(scores), miss / len(counts)
    found = {ONE_RUN: max(one_run(m, r, v, delta, each) for r, v in zip(counts, right, strict=True))}
    if delta > 0:
        found[F_DP] = max(one_run_fdp(m, r, v, delta, each) for r, v in zip(counts, right, strict=True))
        found[GAUSSIAN] = _best_threshold(gaussian_dp, scores, included, delta, miss)
    found[CLOPPER_PEARSON] = _best_threshold(clopper_pearson, scores, included, delta, miss)
    return tuple(AuditBound(method, epsilon, _ASSUMPTIONS[method]) for method, epsilon in found.items())


def guesses_right(scores: np.ndarray, included: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The pre-registered guess counts r, and how many were right: top r/2 guessed in, bottom r/2 out."""
    counts = guess_counts(len(scores))
    ranked = included[_falling(scores)]
    right = []
    for r in counts:
        top = (r + 1) // 2
        right.append(int(ranked[:top].sum() + (~ranked[len(ranked) - (r - top) :]).sum()))
    return counts, tuple(right)


def largest_one_run(m: int, delta: float, miss: float = 0.05) -> float:
    """The ε that an audit of m canaries would show if every guess were right."""
    if m < 1:
        return 0.0
    counts = guess_counts(m)
    return max(one_run(m, r, r, delta, miss / len(counts)) for r in counts)


@lru_cache(maxsize=100_000)
def one_run(canaries: int, guesses: int, right: int, delta: float, miss: float = 0.05) -> float:
    """The largest ε under which so many right guesses have probability ≤ `miss` (Steinke et al. 2023, 2305.08846).

    Under (ε, δ): P[≥ v right of r] ≤ β + 2mδα, with B ~ Bin(r, e^ε/(1+e^ε)), β = P[B ≥ v] and
    α = max over i = 1…v of P[v − i ≤ B < v] / i. Needs: coins independent and fair, r fixed beforehand.
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"expected 0 ≤ right ≤ guesses ≤ canaries, found {right}, {guesses}, {canaries}")
    if right == 0:
        return 0.0

    def excess(epsilon: float) -> float:
        found = binom(guesses, 1 / (1 + math.exp(-epsilon)))
        beta = float(found.sf(right - 1))
        if delta == 0:
            return beta - miss
        below = np.cumsum(found.pmf(np.arange(right - 1, -1, -1)))
        alpha = float((below / np.arange(1, right + 1)).max())
        return beta + 2 * canaries * delta * alpha - miss

    return _crossing(excess, 1.0)


@lru_cache(maxsize=100_000)
def one_run_fdp(canaries: int, guesses: int, right: int, delta: float, miss: float = 0.05) -> float:
    """ε at δ of the largest µ under which µ-GDP does not allow so many right (Mahloujifar et al. 2024, 2410.22235).

    Recursion with r_v = miss·v/m, h_v = miss·(r−v)/m and B(x) = Φ(Φ⁻¹(x) − µ): for i = v−1…0
    h_i = max(h_{i+1}, B(r_{i+1})), r_i = r_{i+1} + i/(r−i)·(h_i − h_{i+1}); impossible if r_0 + h_0 > r/m.
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"expected 0 ≤ right ≤ guesses ≤ canaries, found {right}, {guesses}, {canaries}")
    if right == 0:
        return 0.0

    def excess(mu: float) -> float:
        r, h = miss * right / canaries, miss * (guesses - right) / canaries
        for i in range(right - 1, -1, -1):
            higher = max(h, float(ndtr(ndtri(r) - mu))) if r < 1 else 1.0
            if higher == h:
                break  # r stays, and so all that follows
            r, h = r + i / (guesses - i) * (higher - h), higher
            if r + h > guesses / canaries:
                return -1.0
        return guesses / canaries - (r + h)

    return gaussian_epsilon(_crossing(excess, 1.0), delta)


def clopper_pearson(
    missed: int, members: int, alarms: int, others: int, delta: float, miss: float = 0.05
) -> float:
    """ε from errors of a fixed rule over independent trials: ln((1 − FNR − δ)/FPR), or with the two exchanged.

    Each rate is its Clopper–Pearson upper bound at miss / 2 (Jagielski et al. 2020, 2006.07709).
    """
    missing = _upper(missed, members, miss / 2)
    false = _upper(alarms, others, miss / 2)
    ratios = [(1 - missing - delta) / false, (1 - false - delta) / missing]
    return math.log(max(1.0, *ratios))


def gaussian_dp(
    missed: int, members: int, alarms: int, others: int, delta: float, miss: float = 0.05
) -> float:
    """ε at δ of µ = Φ⁻¹(1 − FPR) − Φ⁻¹(FNR), both rates at their upper bounds (Nasr et al. 2023, 2302.07956)."""
    missing = _upper(missed, members, miss / 2)
    false = _upper(alarms, others, miss / 2)
    if missing >= 1 or false >= 1:
        return 0.0
    return gaussian_epsilon(float(ndtri(1 - false) - ndtri(missing)), delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The ε with δ = Φ(µ/2 − ε/µ) − e^ε Φ(−µ/2 − ε/µ) (Dong et al. 2019, 1905.02383)."""
    if delta <= 0:
        raise ValueError(f"delta: expected more than 0 (no Gaussian mechanism is pure), found {delta}")
    if mu <= _TINY:
        return 0.0

    def excess(epsilon: float) -> float:
        spent = math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
        return delta - (float(ndtr(mu / 2 - epsilon / mu)) - spent)

    return _crossing(excess, mu)


def _best_threshold(
    method: Callable[[int, int, int, int, float, float], float],
    scores: np.ndarray,
    included: np.ndarray,
    delta: float,
    miss: float,
) -> float:
    """The best over thresholds that call the top r of all canaries in, r pre-registered (Bonferroni)."""
    members, others = int(included.sum()), int((~included).sum())
    if min(members, others) == 0:
        return 0.0
    counts = guess_counts(len(scores))
    found = np.cumsum(included[_falling(scores)])[np.array(counts) - 1].tolist()
    return max(
        method(members - hits, members, calls - hits, others, delta, miss / len(counts))
        for calls, hits in zip(counts, found, strict=True)
    )


def _falling(scores: np.ndarray) -> np.ndarray:
    """Positions from the highest score down. Ties stand in a fixed shuffle, which knows nothing of the coins."""
    shuffled = np.random.default_rng(0).permutation(len(scores))
    order: np.ndarray = shuffled[np.argsort(-scores[shuffled], kind="stable")]
    return order


def _upper(errors: int, n: int, miss: float) -> float:
    """Clopper–Pearson upper bound."""
    return float(betaincinv(errors + 1, n - errors, 1 - miss)) if errors < n else 1.0


def _crossing(excess: Callable[[float], float], step: float) -> float:
    """Where `excess` turns from below nought to above, from 0 up; 0 where it starts above."""
    if excess(0.0) >= 0:
        return 0.0
    high = step
    while excess(high) < 0:
        high *= 2
        if high > _LARGEST:
            return math.inf
    return float(brentq(excess, 0.0, high, xtol=1e-9))
