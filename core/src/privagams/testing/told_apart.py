"""Whether two distributions, seen through samples, differ more than a privacy event allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from privagams.ledger.events import LocalGaussianCost, PureCost, local, spending

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_CHANCE = 1e-7
"""How often two samples that differ as much as allowed are taken to differ more."""
_TRAIN = 0.2
"""Share of the samples that choose what is then tested on the rest."""
_CUTS = np.linspace(0.005, 0.995, 100)

Profile = Callable[[float], float]
"""δ(ε): the most that P(S) − e^ε·Q(S) can be, for any set S of outcomes."""


@frozen
class Worst:
    """The set of outcomes that speaks most against a profile, on samples that had no part in choosing it."""

    epsilon: float
    often: float
    """P(S) is at least this,"""
    seldom: float
    """and Q(S) at most that, together with confidence 1 − 1e-7."""
    allowed: float
    """δ(ε)."""

    @property
    def refutes(self) -> bool:
        return self.often - math.exp(self.epsilon) * self.seldom > self.allowed


def profile_of(event: DpEvent) -> tuple[Profile, tuple[float, ...]]:
    """δ(ε) of one image's `event`, and the values of ε at which it is worth asking.

    With ε₀ the sum of pure guarantees and μ = 1/m of all Gaussian noise together (composed, √Σ 1/m²):
    δ(ε) = Φ(μ/2 − x/μ) − e^x·Φ(−μ/2 − x/μ) at x = ε − ε₀ (Balle and Wang 2018, arXiv 1805.06530), or without
    Gaussian noise (e^ε₀ − e^ε) / (e^ε₀ + 1), as of randomised response (Kairouz et al. 2015, arXiv 1311.0776).
    """
    pure, precision = 0.0, 0.0
    for cost, count in spending([local(event)]).items():
        if isinstance(cost, PureCost):
            pure += cost.epsilon * count
        elif isinstance(cost, LocalGaussianCost):
            precision += count / cost.noise**2
    mu = math.sqrt(precision)

    def delta(epsilon: float) -> float:
        if mu == 0:
            # tanh keeps large ε from overflowing.
            return max(0.0, -math.expm1(epsilon - pure) * (1 + math.tanh(pure / 2)) / 2)
        from scipy.special import log_ndtr, ndtr

        x = epsilon - pure
        return float(ndtr(mu / 2 - x / mu) - math.exp(min(x + float(log_ndtr(-mu / 2 - x / mu)), 0.0)))

    return delta, (0.0, pure / 2, pure)


def told_apart(one: np.ndarray, other: np.ndarray, event: DpEvent) -> Worst:
    """Test samples "n s" of s statistics under two inputs against `event`, in both directions.

    Sets {statistic ≥ t} and {statistic ≤ t}; a fifth of the samples chooses statistic, t, direction and ε, the rest
    are counted once, by Clopper and Pearson's limits.
    """
    delta, levels = profile_of(event)
    first = int(_TRAIN * len(one))
    rest = len(one) - first
    best: tuple[float, Callable[[], Worst]] | None = None
    for column, sign, cut in _sets(np.concatenate([one[:first], other[:first]])):
        inside = [sign * samples[:, column] >= sign * cut for samples in (one, other)]
        for p, q in (inside, inside[::-1]):
            often, seldom = (p[:first].sum() + 0.5) / (first + 1), (q[:first].sum() + 0.5) / (first + 1)
            for epsilon in levels:
                weight = math.exp(epsilon)
                spread = math.sqrt((often * (1 - often) + weight**2 * seldom * (1 - seldom)) / rest)
                margin = (often - weight * seldom - delta(epsilon)) / spread
                if best is None or margin > best[0]:
                    best = margin, _counted(p[first:], q[first:], epsilon, delta(epsilon))
    assert best is not None
    return best[1]()


def _sets(samples: np.ndarray) -> Iterator[tuple[int, int, float]]:
    for column in range(samples.shape[1]):
        for cut in np.unique(np.quantile(samples[:, column], _CUTS, method="nearest")):
            yield column, 1, cut
            yield column, -1, cut


def _counted(p: np.ndarray, q: np.ndarray, epsilon: float, allowed: float) -> Callable[[], Worst]:
    def count() -> Worst:
        from scipy.stats import beta

        hits, false, n = int(p.sum()), int(q.sum()), len(p)
        often = float(beta.ppf(_CHANCE / 2, hits, n - hits + 1)) if hits else 0.0
        seldom = float(beta.ppf(1 - _CHANCE / 2, false + 1, n - false)) if false < n else 1.0
        return Worst(epsilon, often, seldom, allowed)

    return count
