"""Intervals over patients that hold near 0 and 1 and with few patients."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, expit, logit, ndtri
from scipy.stats import rankdata

Interval = tuple[float, float]


def mean_interval(value: float, n: int, level: float = 0.95) -> Interval:
    """Clopper–Pearson interval for a mean of n patients' averages in [0, 1]; `n · value` need not be whole.

    Exact for yes/no results. Averages in [0, 1] vary no more than yes/no results of the same mean, so the
    interval is conservative for them (checked by simulation in the tests).
    """
    return mean_bound(value, n, "low", (1 - level) / 2), mean_bound(value, n, "high", (1 - level) / 2)


def mean_bound(value: float, n: int, side: str, miss: float) -> float:
    """One side of the interval; `miss` is the largest probability of missing the truth on that side."""
    successes = value * n
    if side == "low":
        return float(betaincinv(successes, n - successes + 1, miss)) if successes > 0 else 0.0
    return float(betaincinv(successes + 1, n - successes, 1 - miss)) if successes < n else 1.0


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Probability that a random member scores above a random other patient; ties count half."""
    m, n = len(members), len(others)
    ranks = rankdata(np.concatenate([members, others]))
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


def auc_variance(members: np.ndarray, others: np.ndarray) -> float:
    """DeLong's variance of `auc` (DeLong et al. 1988; by ranks, Sun and Xu 2014).

    Zero when separation is perfect, and where a side has fewer than the two patients that an estimate needs.
    """
    m, n = len(members), len(others)
    if min(m, n) < 2:
        return 0.0
    ranks = rankdata(np.concatenate([members, others]))
    beaten = (ranks[:m] - rankdata(members)) / n
    beating = 1 - (ranks[m:] - rankdata(others)) / m
    return float(beaten.var(ddof=1) / m + beating.var(ddof=1) / n)


def auc_interval(value: float, variance: float, m: int, n: int, level: float = 0.95) -> Interval:
    """Interval for an AUC of m members and n others: DeLong's on the logit scale.

    With fewer than 50 patients a side, or beyond 0.05 and 0.95, DeLong's variance collapses too often: there
    the wider of it and Newcombe's score interval (2006, method 5) is taken.
    """
    miss = (1 - level) / 2
    return auc_bound(value, variance, m, n, "low", miss), auc_bound(value, variance, m, n, "high", miss)


def auc_bound(
    value: float, variance: float, m: int, n: int, side: str, miss: float, *, wide: bool = False
) -> float:
    """One side of the interval; `miss` is the probability of missing the truth on that side.

    `wide` takes the wider of the two in any case: far out in the tails neither is exact.
    """
    z = float(ndtri(1 - miss))
    if side == "high":
        return 1 - auc_bound(1 - value, variance, m, n, "low", miss, wide=wide)
    if variance == 0 or not 0 < value < 1:
        return _newcombe_low(value, m, n, z)
    delong = float(expit(logit(value) - z * np.sqrt(variance) / (value * (1 - value))))
    enough = min(m, n) >= 50 and 0.05 <= value <= 0.95
    return delong if enough and not wide else min(delong, _newcombe_low(value, m, n, z))


def _newcombe_low(value: float, m: int, n: int, z: float) -> float:
    """Lower bound by method 5 of Newcombe (2006): value − θ = z·sd(θ), sd after Hanley and McNeil."""
    if value <= 0:
        return 0.0

    def excess(theta: float) -> float:
        half = (m + n) / 2 - 1
        spread = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        return (value - theta) ** 2 - z**2 * theta * (1 - theta) * spread / (m * n)

    # θ = value = 1 is a root too, and not the one sought.
    return float(brentq(excess, 0.0, value * (1 - 1e-12)))
