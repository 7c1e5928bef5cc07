"""Whether any measured bound contradicts its claim, all bounds of a report tested as one family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from privagams.judge.bounds import one_run
from privagams.judge.caps import auc_cap, epsilon_of_auc, epsilon_of_linkage, linkage_cap
from privagams.judge.intervals import auc_bound, mean_bound

if TYPE_CHECKING:
    from privagams.judge.verdict import Verdict

FAMILY = 0.001
"""Largest probability of refusing any release of a report whose claims are all true."""


@frozen
class Strength:
    """What one attack reached, in the numbers from which a bound at any level can be computed."""

    statistic: Literal["auc", "top-1", "guesses"]
    value: float
    """The AUC, the share of first guesses that are right, or of the largest number of guesses."""
    variance: float
    """DeLong's, for an AUC."""
    patients: int
    """Members, or for `top-1` probe patients, or for `guesses` canaries."""
    others: int
    """Non-members; for `top-1` how many candidates the true one was drawn from, where that is known to have been a
    fair draw, and 0 where the probes themselves are the candidates; 0 for `guesses`."""
    counts: tuple[int, ...] = ()
    """`guesses`: the pre-registered numbers of guesses."""
    right: tuple[int, ...] = ()
    """`guesses`: how many of each were right."""

    def lower(self, miss: float, delta: float = 0.0) -> float:
        """Lower confidence bound that exceeds the truth with probability at most `miss`.

        Of the statistic, or for `guesses` of ε at `delta`: the best of the numbers of guesses, each at its share
        of `miss`. An AUC below one half betrays members too, and the claim bounds it alike: the side further
        from one half is tested, each side at half the `miss`.
        """
        if self.statistic == "guesses":
            each = miss / len(self.counts)
            tried = zip(self.counts, self.right, strict=True)
            return max(one_run(self.patients, r, v, delta, each) for r, v in tried)
        if self.statistic == "top-1":
            return mean_bound(self.value, self.patients, "low", miss)
        value = max(self.value, 1 - self.value)
        return auc_bound(value, self.variance, self.patients, self.others, "low", miss / 2, wide=True)

    @property
    def candidates(self) -> int:
        """Of `top-1`: among how many a guess is right by chance, at most once in so many times."""
        return self.others or self.patients

    def best(self) -> Strength:
        """The same with an attack that was always right."""
        return Strength(self.statistic, 1.0, 0.0, self.patients, self.others, self.counts, self.counts)


@frozen
class Bound:
    """One attack's strength against the claim of the release that it attacked."""

    release: str
    attack: str
    strength: Strength
    epsilon: float
    delta: float
    note: str = ""

    @property
    def cap(self) -> float:
        """The largest value that the claim allows.

        For `top-1` with as many patients as were probed, not as many as were released: the share is of probes,
        and who always names the same one of n probes is right for one in n (`linkage_cap` holds for any subset).
        Only where the true one was drawn fairly from more candidates does their number count.
        """
        if self.strength.statistic == "guesses":
            return self.epsilon
        if self.strength.statistic == "top-1":
            return linkage_cap(self.strength.candidates, self.epsilon, self.delta)
        return auc_cap(self.epsilon, self.delta)

    def epsilon_shown(self, strength: Strength, miss: float) -> float:
        """The ε below which no claim allows the lower bound of `strength`."""
        lower = strength.lower(miss, self.delta)
        if strength.statistic == "guesses":
            return lower
        if strength.statistic == "top-1":
            return epsilon_of_linkage(lower, strength.candidates, self.delta)
        return epsilon_of_auc(lower, self.delta)


@frozen
class Tested:
    """One bound at the family's level."""

    bound: Bound
    lower: float
    cap: float
    epsilon_shown: float
    largest_epsilon: float
    """The largest ε that this test could have shown: with so many patients, and an attack always right."""

    @property
    def refused(self) -> bool:
        return self.lower > self.cap

    @property
    def could_refuse(self) -> bool:
        """Whether an attack that was always right would have been refused; else the test says nothing of the claim."""
        return self.largest_epsilon > self.bound.epsilon


@frozen
class Gate:
    """The outcome for a report. `run` ends with exit code 4 when it is refused."""

    level: float
    tests: tuple[Tested, ...]

    @property
    def refused(self) -> tuple[Tested, ...]:
        """The tests whose lower bound lies above what the claim allows."""
        return tuple(test for test in self.tests if test.refused)

    @property
    def largest_epsilon(self) -> float:
        """The largest ε that any of the tests could have shown; 0 without tests."""
        return max((test.largest_epsilon for test in self.tests), default=0.0)


def gate(verdicts: Sequence[Verdict], level: float = FAMILY) -> Gate:
    """Test every bound of a report at level / number of bounds (Bonferroni).

    Guarantee: true claims are refused with probability at most `level`, up to the accuracy of the intervals;
    each test takes the patients' scores as independent given the release, but for guesses, which need fair and
    independent coins alone. Membership is tested by the AUC, and by guesses where the verdict was given the claim
    at a much smaller δ: at a δ of use so few patients could refuse nothing.
    Test: `test_true_claims_pass_the_gate`.
    """
    bounds = [bound for verdict in verdicts for bound in verdict.bounds]
    return Gate(level, tuple(_tested(bound, level / len(bounds)) for bound in bounds))


def _tested(bound: Bound, miss: float) -> Tested:
    return Tested(
        bound,
        lower=bound.strength.lower(miss, bound.delta),
        cap=bound.cap,
        epsilon_shown=bound.epsilon_shown(bound.strength, miss),
        largest_epsilon=bound.epsilon_shown(bound.strength.best(), miss),
    )
