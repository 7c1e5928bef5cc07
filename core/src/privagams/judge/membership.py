"""Can members be told from non-members by one score per patient? AUC, TPR at low FPR, the worst-off."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom, rankdata

from privagams.evidence import Measurement
from privagams.judge.intervals import auc, auc_interval, auc_variance, mean_bound, mean_interval

RATES = (0.1, 0.01)
_MISS = 0.0125
"""A 95 % interval of TPR at FPR spends 2.5 % a side: half on the threshold, half on the members."""
_PLAIN = 500
"""Permutations for a mean; more are for p-values."""


def membership_like(
    scores: np.ndarray,
    is_member: np.ndarray,
    rng: np.random.Generator,
    note: str = "",
    permutations: int = 2000,
) -> tuple[list[Measurement], float]:
    """Measure `auc`, `tpr@0.1` and `tpr@0.01` where resolved, and `worst-off`; also give p of auc, either way.

    `scores`: one per patient, "k", higher = believed to be a member. The null permutes `is_member`;
    an AUC below one half betrays members as one above does, so p counts AUCs as far from one half on either side.
    Without members or without non-members: no measurements.
    """
    members, others = scores[is_member], scores[~is_member]
    m, n = len(members), len(others)
    if min(m, n) == 0:
        return [], 1.0
    value = auc(members, others)
    interval = auc_interval(value, auc_variance(members, others), m, n)
    null = rng.permuted(np.tile(is_member, (permutations, 1)), axis=1)
    null_auc = (null @ rankdata(scores) - m * (m + 1) / 2) / (m * n)
    as_far = np.abs(null_auc - 0.5) >= abs(value - 0.5) - 1e-12
    p_value = (1 + int(as_far.sum())) / (permutations + 1)
    found = [Measurement("auc", value, *interval, m + n, chance=0.5, note=note)]
    found += [_tpr(members, others, rate, scores, null, note) for rate in RATES if resolves(n, rate)]
    return [*found, _worst_off(members, others, scores, null, note)], p_value


def resolves(nonmembers: int, rate: float) -> bool:
    """Whether so many non-members bound the threshold of a false positive rate from above at all.

    The rule: all of them lie below the true threshold with probability (1 − rate)ⁿ ≤ 1.25 %; that takes 42
    patients for 0.1 and 436 for 0.01. With fewer, no threshold can be shown to keep the rate.
    """
    return (1 - rate) ** nonmembers <= _MISS


def _tpr(
    members: np.ndarray,
    others: np.ndarray,
    rate: float,
    scores: np.ndarray,
    null: np.ndarray,
    note: str,
) -> Measurement:
    """Share of members above the lowest threshold that at most `rate` of non-members exceed.

    The interval is distribution-free: order statistics of the non-members bound the true threshold, and
    Clopper–Pearson bounds the members above those bounds.
    """
    m, n = len(members), len(others)
    value = float((members > _threshold(others, math.floor(rate * n))).mean())
    exceed = binom(n, rate)
    fewest, most = int(exceed.ppf(_MISS)), int(exceed.isf(_MISS))
    strict = _threshold(others, max(fewest - 1, 0))
    lenient = _threshold(others, most)
    low = mean_bound(float((members > strict).mean()), m, "low", _MISS)
    high = mean_bound(float((members >= lenient).mean()), m, "high", _MISS)
    chance = _mean_above(scores, null, math.floor(rate * n))
    return Measurement(f"tpr@{rate:g}", value, min(low, value), max(high, value), m, chance=chance, note=note)


def _mean_above(scores: np.ndarray, null: np.ndarray, exceeding: int) -> float:
    """Mean over relabellings ("p k") of the share of members above all but `exceeding` non-members."""
    few = null[:_PLAIN]
    others = np.sort(scores[np.nonzero(~few)[1]].reshape(len(few), -1), axis=1)
    members = scores[np.nonzero(few)[1]].reshape(len(few), -1)
    return float((members > others[:, -1 - exceeding, None]).mean())


def _threshold(others: np.ndarray, exceeding: int) -> float:
    """The non-members' score with `exceeding` of them placed above it (fewer where scores tie)."""
    if exceeding >= len(others):
        return -math.inf
    return float(np.sort(others)[len(others) - 1 - exceeding])


def _worst_off(
    members: np.ndarray, others: np.ndarray, scores: np.ndarray, null: np.ndarray, note: str
) -> Measurement:
    """Share of members that score above every non-member: patients whom nothing hides."""
    value = float((members > others.max()).mean())
    chance = _mean_above(scores, null, 0)
    said = f"share of members who score above all {len(others)} non-members"
    return Measurement(
        "worst-off", value, *mean_interval(value, len(members)), len(members), chance=chance,
        note=f"{note}; {said}" if note else said,
    )  # fmt: skip
