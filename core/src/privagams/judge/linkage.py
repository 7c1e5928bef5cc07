"""How often an adversary picks the right patient for a released item: ranks, per patient."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from privagams.evidence import Measurement
from privagams.judge.bounds import LOWER_BOUND
from privagams.judge.caps import epsilon_of_linkage
from privagams.judge.gate import Strength
from privagams.judge.intervals import mean_interval

_RESAMPLES = 2000
_WORST = 0.1


@frozen(eq=False)
class Probes:
    """Rank statistics of probe patients against every candidate, in expectation over ties.

    Row a holds what the measures would be if candidate b were the true patient of a's groups, averaged over
    those groups: with `own[a]` in place of b this is the result, with any other column the permutation null.
    """

    top1: np.ndarray
    top5: np.ndarray
    reciprocal: np.ndarray
    ever: np.ndarray
    """Probability that at least one of the patient's groups is right at the first guess, and not their average.
    Each of the four is float64 "probes candidates"."""
    own: np.ndarray
    """Each probe patient's own column, int64 "probes"."""


def rank_probes(scores: np.ndarray, truth: np.ndarray, patients: np.ndarray, wanted: np.ndarray) -> Probes:
    """Rank candidates in each group (row of `scores`) whose true patient is a wanted candidate (mask, "k").

    Only such groups are probes: a patient of whom the adversary holds nothing cannot be picked.
    """
    column = {str(name): position for position, name in enumerate(patients)}
    own = np.array([column.get(str(name), -1) for name in truth], dtype=np.int64)
    probes, row = np.unique(own[(own >= 0) & wanted[own]], return_inverse=True)
    sums = np.zeros((3, len(probes), len(patients)))
    never = np.ones((len(probes), len(patients)))
    harmonic = harmonic_sums(len(patients))
    for group, at in zip(np.flatnonzero((own >= 0) & wanted[own]), row, strict=True):
        expected = expected_over_ties(scores[group], harmonic)
        sums[:, at] += expected
        never[at] *= 1 - expected[0]
    sums /= np.bincount(row, minlength=len(probes))[:, None] if len(probes) else 1
    return Probes(sums[0], sums[1], sums[2], 1 - never, probes)


def linkage(
    probes: Probes, rng: np.random.Generator, note: str = "", permutations: int = 2000
) -> tuple[list[Measurement], float]:
    """Measure `top-1`, `top-5`, `mrr`, `r-s` and `worst-off` over probe patients; also give p of mrr.

    `r-s` is the share of patients of whom at least one group is linked at the first guess (Holub et al. 2023).
    The null permutes the candidates' names. Its mean is exact for all but the last (a guess at random); for
    `worst-off`, the mean reciprocal rank of the tenth of patients with the highest, it is simulated, because
    picking the worst-off favours luck. No probe, or one candidate only: no measurements.
    """
    n, k = probes.top1.shape
    if n == 0 or k < 2:
        return [], 1.0
    rows = np.arange(n)
    found = []
    tables = {
        "top-1": probes.top1, "top-5": probes.top5, "mrr": probes.reciprocal, "r-s": probes.ever
    }  # fmt: skip
    for name, table in tables.items():
        if name == "top-5" and k <= 5:
            continue
        value = float(np.clip(table[rows, probes.own].mean(), 0, 1))
        found.append(
            Measurement(name, value, *mean_interval(value, n), n, chance=float(table.mean()), note=note)
        )
    mine = probes.reciprocal[rows, probes.own]
    null = np.stack([probes.reciprocal[rows, rng.permutation(k)[probes.own]] for _ in range(permutations)])
    p_value = (1 + int((null.mean(axis=1) >= mine.mean() - 1e-12).sum())) / (permutations + 1)
    return [*found, _worst_off(mine, null, rng, note)], p_value


def linkage_bound(strength: Strength, delta: float, note: str = "", unit: str = "patient") -> Measurement:
    """Bound ε from the share p of N patients whose randomised copy was linked: ln((p − δ)(N − 1)/(1 − p)), at least 0.

    p is the lower end of its 95 % confidence interval with one end. N is the number of patients who were probed,
    not of those released: who always names the same one of N probes is right for one in N. Only where the true one
    was drawn fairly from more candidates is N their number (`Strength.candidates`).

    Guarantee: it exceeds an ε that the copies keep (replace-one) with probability at most 5 %, where each guess is
    made from that patient's copies alone (`test_a_linkage_bound_seldom_exceeds_a_true_claim`).
    """
    n = strength.patients
    value, largest = (
        epsilon_of_linkage(each.lower(0.05), strength.candidates, delta)
        for each in (strength, strength.best())
    )
    said = (
        f"at most {largest:.2f} could have been shown with {n} {unit}s; holds where each guess is made from that "
        f"{unit}'s copies alone"
    )
    return Measurement(LOWER_BOUND, value, value, math.inf, n, unit, note=f"{note}; {said}" if note else said)


def harmonic_sums(count: int) -> np.ndarray:
    """Sums 1 + 1/2 + … + 1/i for i = 0…count."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, count + 1))])


def expected_over_ties(scores: np.ndarray, harmonic: np.ndarray) -> np.ndarray:
    """Expected top-1, top-5 and reciprocal rank of every candidate, ties broken at random, "3 k"."""
    ordered = np.sort(scores)
    above = len(scores) - np.searchsorted(ordered, scores, side="right")
    through = len(scores) - np.searchsorted(ordered, scores, side="left")
    tied = through - above
    top1, top5 = (np.clip((depth - above) / tied, 0, 1) for depth in (1, 5))
    return np.stack([top1, top5, (harmonic[through] - harmonic[above]) / tied])


def _worst_off(mine: np.ndarray, null: np.ndarray, rng: np.random.Generator, note: str) -> Measurement:
    """The mean over the worst-off tenth of patients (at least one).

    Its interval is the wider of a patient bootstrap, which alone misses far too often with few patients, and
    the interval of a mean over so few patients, which alone forgets that they were picked.
    """
    n = len(mine)
    count = max(1, round(_WORST * n))
    resampled = mine[rng.integers(0, n, (_RESAMPLES, n))]
    boot = np.quantile(_top_mean(resampled, count), [0.025, 0.975])
    value = float(np.clip(_top_mean(mine[None], count)[0], 0, 1))
    alone = mean_interval(value, count)
    low, high = min(float(boot[0]), alone[0]), max(float(boot[1]), alone[1])
    chance = float(_top_mean(null, count).mean())
    said = f"mean reciprocal rank of the worst-off {count} of {n} patients"
    return Measurement(
        "worst-off", value, low, high, count, chance=chance,
        note=f"{note}; {said}" if note else said,
    )  # fmt: skip


def _top_mean(values: np.ndarray, count: int) -> np.ndarray:
    worst: np.ndarray = np.sort(values, axis=-1)[..., -count:].mean(axis=-1)
    return worst
