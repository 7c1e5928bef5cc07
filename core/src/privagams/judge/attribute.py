"""Does a release teach more about its members than about patients who took no part? Per patient."""

from __future__ import annotations

import numpy as np

from privagams.evidence import Measurement
from privagams.judge.calls import called
from privagams.judge.intervals import auc, auc_interval, auc_variance


def guessed(
    scores: np.ndarray,
    options: tuple[str, ...],
    truth: np.ndarray,
    is_member: np.ndarray,
    rng: np.random.Generator,
    permutations: int = 2000,
) -> tuple[list[Measurement], float, np.ndarray, np.ndarray]:
    """Measure `excess`, `accuracy` (members), `control` (non-members) and `auc`; also give p of excess.

    scores: "k a", the highest option is the guess, and a tie is wrong; truth: "k", patients whose value is no
    option are left out. `auc` compares the true option's score, standardised per option, between members and
    non-members. The null of p exchanges members and non-members; `chance` of accuracy exchanges the patients'
    true values. Also returned: the score behind `auc` and who is a member, for those who count.
    """
    at = np.array([options.index(value) if value in options else -1 for value in truth.tolist()])
    known = at >= 0
    scores, at, is_member = scores[known], at[known], is_member[known]
    m, n = int(is_member.sum()), int((~is_member).sum())
    if min(m, n) == 0:
        return [], 1.0, np.zeros(0), is_member
    right = _right(scores, at)
    found = called(right, is_member, "accuracy")
    gap = right[is_member].mean() - right[~is_member].mean()
    null = rng.permuted(np.tile(is_member, (permutations, 1)), axis=1)
    hits = right.astype(np.float64)
    null_gap = null @ hits / m - ~null @ hits / n
    p_value = (1 + int((null_gap >= gap - 1e-12).sum())) / (permutations + 1)
    luck = float(np.mean([_right(scores, rng.permutation(at))[is_member].mean() for _ in range(200)]))
    found = [_with_chance(f, luck) if f.name == "accuracy" else f for f in found]
    spread = scores.std(axis=0)
    own = ((scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1))[np.arange(len(at)), at]
    value = auc(own[is_member], own[~is_member])
    interval = auc_interval(value, auc_variance(own[is_member], own[~is_member]), m, n)
    return [*found, Measurement("auc", value, *interval, m + n, chance=0.5)], p_value, own, is_member


def _right(scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether the true option alone has the highest score."""
    own = scores[np.arange(len(at)), at]
    best: np.ndarray = (scores >= own[:, None]).sum(axis=1) == 1
    return best


def _with_chance(found: Measurement, chance: float) -> Measurement:
    return Measurement(
        found.name, found.value, found.low, found.high, found.n, found.unit, chance, found.note
    )
