"""Whether what happened at the door is what the claim prices: counts, draws, sizes and noise, over all steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import binom

from privagams.ledger.events import Expense, NoisySumCost, Spending, ordered

_CHANCE = 1e-7
"""How often an honest mechanism is accused by the test of its rate."""
_SIGMAS = 6


class Tally:
    """What is counted of one noisy sum, step by step; x is the sum along a canary's direction over the clip norm."""

    def __init__(self, noise_multiplier: float, included: int, independent: int) -> None:
        self.noise_multiplier = noise_multiplier
        self.released = 0
        self.drawn = np.zeros(included, dtype=np.int64)
        """How often each included canary was drawn."""
        self.sizes: list[tuple[int, int]] = []
        """(patients drawn, patients there were) of each draw, canaries among both."""
        self._independent = independent
        self._moments = np.zeros((2, 3))
        """n, Σ x and Σ x² of canaries that were not in a sum, and of those that were."""

    def draw(self, canaries: np.ndarray, size: int, patients: int) -> None:
        """Note a draw: positions among the included canaries, and how many were drawn of how many."""
        np.add.at(self.drawn, canaries, 1)
        self.sizes.append((size, patients))

    def release(self, along: np.ndarray, present: np.ndarray) -> None:
        """Note a released sum: x of all canaries, and the numbers of those in it."""
        self.released += 1
        inside = np.zeros(len(along), dtype=bool)
        inside[present] = True
        for row, some in enumerate((along[~inside], along[inside])):
            self._moments[row] += len(some), some.sum(), np.square(some).sum()

    @property
    def contribution(self) -> tuple[float, float]:
        """By how many clip norms a canary moves a sum, and the standard error of that."""
        (n0, sum0, _), (n1, sum1, _) = self._moments
        if min(n0, n1) < 2:
            return 0.0, math.inf
        return sum1 / n1 - sum0 / n0, self.noise * math.sqrt(1 / n0 + 1 / n1)

    @property
    def noise(self) -> float:
        """Standard deviation of a sum along the directions of those who are not in it, in clip norms.

        At least the noise multiplier: patients add to it.
        """
        n, total, squares = self._moments[0]
        return math.sqrt(max(squares / n - (total / n) ** 2, 0.0)) if n > 1 else math.inf

    def faults(self) -> Iterator[str]:
        """Say where size or noise of the sum contradict what it promises."""
        moved, error = self.contribution
        if moved > 1 + _SIGMAS * error + 1e-3:
            yield f"a canary moves a sum by {moved:.3g} clip norms, where clipping allows 1"
        n = min(self._moments[0, 0], self._independent * max(self.released, 1))
        least = 1 - _SIGMAS * math.sqrt(2 / max(n, 1))
        if least > 0 and self.noise**2 < self.noise_multiplier**2 * least:
            yield f"a sum's noise is {self.noise:.3g} clip norms, claimed {self.noise_multiplier:.3g}"


def unaccounted(tallies: Sequence[Tally], rate: float, stated: Spending) -> Iterator[str]:
    """Compare the sums that were released with those that the account holds."""
    done: Counter[Expense] = Counter()
    for tally in tallies:
        done[NoisySumCost(rate, tally.noise_multiplier)] += tally.released
    if done != Counter(stated):
        yield f"the account states {_words(stated)}, the training drew {_words(done)}"


def strange(tallies: Sequence[Tally], rate: float) -> Iterator[str]:
    """Compare draws, contributions and noise with what is claimed, by tests that hardly ever accuse wrongly."""
    for tally in tallies:
        yield from tally.faults()
    canaries = len(tallies[0].drawn) if tallies else 0
    steps = sum(len(tally.sizes) for tally in tallies)
    if rate >= 1 or canaries == 0 or steps < 2:
        return
    drawn = np.sum([tally.drawn for tally in tallies], axis=0)
    total = int(drawn.sum())
    coins = binom(canaries * steps, rate)
    if min(coins.cdf(total), coins.sf(total - 1)) < _CHANCE / 2:
        yield f"canaries were drawn at a rate of {total / (canaries * steps):.4g}, claimed {rate:.4g}"
        return
    if not _spread_as_coins(drawn, np.full(canaries, steps), rate):
        yield "some canaries were drawn more often than others, or all too evenly, for coins of one rate"
    sizes, there = np.array([size for tally in tallies for size in tally.sizes]).T
    if not _spread_as_coins(sizes, there, rate):
        yield "the number of patients in a step varies otherwise than that of independent coins"


def _spread_as_coins(heads: np.ndarray, flips: np.ndarray, rate: float) -> bool:
    """Whether Σ (heads − flips·q)² / (flips·q(1−q)) is where χ² of so many degrees would be within 6 σ."""
    n = len(heads)
    statistic = float(((heads - flips * rate) ** 2 / (flips * rate * (1 - rate))).sum())
    # A binomial's excess kurtosis widens χ² where flips·q is small.
    extra = float(np.mean((1 - 6 * rate * (1 - rate)) / (flips * rate * (1 - rate))))
    # Wilson and Hilferty: the cube root of χ²/n is nearly normal.
    middle, width = 1 - 2 / (9 * n), math.sqrt(2 / (9 * n) * (1 + max(extra, 0.0) / 2))
    return bool(abs((statistic / n) ** (1 / 3) - middle) <= _SIGMAS * width)


def _words(spent: Spending) -> str:
    said = [
        f"{n} at rate {cost.rate:.4g} with noise {cost.noise:.4g}"
        if isinstance(cost, NoisySumCost)
        else f"{n} {cost}"
        for cost, n in ordered(spent)
    ]
    return "; ".join(said) or "no noisy sum"
