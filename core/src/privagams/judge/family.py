"""The best of several attacks on one release, and what may be said of it after choosing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from attrs import frozen
from scipy.special import ndtr
from scipy.stats import rankdata

from privagams.judge.intervals import auc, auc_bound, auc_variance


@frozen
class Family:
    """Several attacks judged together."""

    best: str
    adjusted_p: Mapping[str, float]
    low: float
    """A 95 % lower bound on the larger of AUC and 1 − AUC of the best, which allows for its having been chosen."""
    direction: Literal["higher", "lower"] = "higher"
    """Whether members score higher or lower than non-members in the best; an AUC below one half tells as much."""


def best_of(
    scores: Mapping[str, np.ndarray],
    member: np.ndarray,
    rng: np.random.Generator,
    permutations: int = 2000,
) -> Family:
    """Compare attacks by one score per patient, "k" each, on the same candidates.

    max-|T| of AUCs (Westfall and Young 1993), T the distance from one half on either side: patients are
    permuted jointly over attacks, so that correlated attacks cost little. A p-value below 0.05 for any of
    several attacks that know nothing has probability at most 0.05. Needs at least one member, one non-member
    and one attack.
    """
    names = list(scores)
    m, n = int(member.sum()), int((~member).sum())
    if not names or min(m, n) == 0:
        raise ValueError(f"expected attacks, members and non-members, found {len(names)}, {m} and {n}")
    ranks = np.stack([rankdata(scores[name]) for name in names], axis=1)
    # By the spread of ranks without ties, whatever the ties: the best is then the one of the farthest AUC.
    scaled = (ranks - ranks.mean(axis=0)) / np.sqrt((len(member) ** 2 - 1) / 12)
    found = member @ scaled
    null = rng.permuted(np.tile(member, (permutations, 1)), axis=1) @ scaled
    null = np.abs(null).max(axis=1)
    adjusted = [(1 + int((null >= t - 1e-9).sum())) / (permutations + 1) for t in np.abs(found)]
    at = int(np.argmax(np.abs(found)))
    sign = 1.0 if found[at] >= 0 else -1.0
    inside, outside = sign * scores[names[at]][member], sign * scores[names[at]][~member]
    low = auc_bound(auc(inside, outside), auc_variance(inside, outside), m, n, "low", _miss(null, m, n))
    return Family(names[at], dict(zip(names, adjusted, strict=True)), low, "higher" if sign > 0 else "lower")


def _miss(null: np.ndarray, m: int, n: int) -> float:
    """The error on the found side of the best attack at which the whole family, either side counted, keeps 5 %."""
    total = m + n
    # A sum of m of the standardised ranks drawn without replacement has this spread.
    spread = np.sqrt(m * n / (total - 1))
    return min(0.025, float(ndtr(-np.quantile(null, 0.95, method="higher") / spread)))
