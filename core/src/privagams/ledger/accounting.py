"""How a computation is priced: the larger ε of two accountants, and the noise that a target needs."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from privagams.errors import BudgetError
from privagams.ledger.events import (
    Expense,
    LocalGaussianCost,
    NoisySumCost,
    PureCost,
    SearchCost,
    Spending,
    Sums,
    event_from_json,
    event_of,
    event_to_json,
    is_local,
    spending,
)

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

__all__ = [
    "Claim",
    "calibrate",
    "claim",
    "claim_of",
    "epsilon",
    "event_from_json",
    "event_to_json",
    "price",
    "replace_one",
]

Price = Callable[[Spending, float], tuple[float, str]]
ReplaceOne = Callable[[Spending, float], float | None]
ZERO_OUT = "zero-out"
REPLACE_ONE = "replace-one"
PROTECTS = "everything that one patient's images and labels add to the release"
_PURE = "sum of pure ε"
_TOLERANCE = 4e-4
_TINY = 1e-12
_MOST_POINTS = 250_000
_MOST_NOISE = 1e6
_LEAST_NOISE = 1e-2
_BY_SEARCH = "RDP of repeating and selecting the best"
_ORDERS = (*range(2, 65), 128, 256, 512, 1024)  # whole ones only: the others' series do not always converge
_ORDERS_OF_SEARCH = (*_ORDERS[:-4], *range(68, 129, 4), 160, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)


def _not_negative(_: object, attribute: Any, value: float) -> None:
    if not value >= 0:  # also refuses nan
        raise ValueError(f"{attribute.name}: expected a number of at least 0, found {value!r}")


@frozen(kw_only=True)
class Claim:
    """An upper bound on what one unit can lose by a release, with all that is needed to read it."""

    epsilon: float = field(validator=_not_negative)
    delta: float = field(validator=_not_negative)
    unit: str = "patient"
    adjacency: str = ZERO_OUT
    accountant: str
    protects: str = PROTECTS
    replace_one_epsilon: float | None = None
    """ε when one patient is replaced by another, where that differs from `adjacency` and can be priced."""
    per_element_epsilon: float | None = None
    """ε of one released coordinate of a local mechanism; never the claim, which is the total."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; infinity is the string "inf"; figures that do not apply are left out."""
        values = asdict(self)
        return {name: _infinity_to_text(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        entries: dict[str, Any] = {n: math.inf if entry == "inf" else entry for n, entry in value.items()}
        return cls(**entries)


def _infinity_to_text(value: Any) -> Any:
    return "inf" if value == math.inf else value


def epsilon(events: Sequence[DpEvent], delta: float) -> tuple[float, str]:
    """Price the composition of `events` at `delta`: ε and the accountants it comes from.

    Adjacency is zero-out of one patient with the number of patients public. For a sum it costs what
    add/remove costs: a patient who is zeroed out adds the zero vector, so with public sampling probability,
    normaliser and number of patients the two outputs are distributed as with and without that patient.

    Guarantee: never below what either accountant finds (`test_the_larger_of_two_accountants_is_reported`).
    """
    return price(spending(events), delta)


def price(spent: Spending, delta: float) -> tuple[float, str]:
    """Price counted costs at `delta`, as `epsilon` does for events: zero-out of one patient.

    Images randomised on their own are counted as what they cost when their patient is replaced by any other. That
    is valid here too: a patient who is zeroed out has been replaced, by one who is all noughts. Pure guarantees
    add their ε, in whatever order and however chosen, since (ε₁, 0) and (ε₂, δ) compose to (ε₁ + ε₂, δ)
    (Dwork and Roth 2014, theorem 3.16 and appendix B); where there is nothing else, δ plays no part and may be 0.
    Where there is a search, all noise is priced by Rényi DP, in which alone searches are known.
    """
    pure, noisy, searches = _apart(spent)
    if noisy or searches or not spent:
        _check_delta(delta)
    if not spent:
        return 0.0, "nothing spent"
    if not (noisy or searches):
        return pure, _PURE
    value, name = _price_of_search(noisy, searches, delta) if searches else _price_of_noise(noisy, delta)
    return value + pure, name + (f", plus the {_PURE}" if pure else "")


def replace_one(spent: Spending, delta: float) -> float | None:
    """ε when one patient is replaced by another; None where that cannot be priced.

    A sum then moves by up to twice the clip norm. What is randomised image by image costs what its event says,
    which is for replacing in the first place.
    """
    if is_local(spent):
        return price(spent, delta)[0]
    _check_delta(delta)
    pure, noisy, searches = _apart(spent, as_sums_of=2.0)
    if _unprotected(noisy):
        return math.inf
    if searches:
        return None
    if not noisy:
        return pure
    from dp_accounting import NeighboringRelation

    value, name = _pld(noisy, delta, NeighboringRelation.REPLACE_ONE)
    return value + pure if name == "PLD" else None


def claim(
    events: Sequence[DpEvent],
    delta: float,
    adjacency: str = ZERO_OUT,
    protects: str = PROTECTS,
    per_element_epsilon: float | None = None,
) -> Claim:
    """State what `events` cost together, with the replace-one figure beside it; see `claim_of`."""
    return claim_of(
        [spending(events)], delta, adjacency=adjacency, protects=protects,
        per_element_epsilon=per_element_epsilon,
    )  # fmt: skip


def claim_of(
    spent: Sequence[Spending],
    delta: float,
    *,
    adjacency: str = ZERO_OUT,
    protects: str = PROTECTS,
    per_element_epsilon: float | None = None,
    prices: tuple[Price, ReplaceOne] | None = None,
) -> Claim:
    """State what the one that costs most of several spendings, each some patient's, comes to.

    Where all was paid for images randomised on their own, the claim is for replacing one patient by any other, and
    where these are all pure guarantees its δ is 0. Anything else is for zero-out (or `adjacency`), with the
    replace-one figure beside it: the largest, which need not be the same patient's, as sums cost more when a
    patient is replaced and randomised images do not.
    """
    price_of, replace_one_of = prices or (price, replace_one)
    value, accountant = max((price_of(each, delta) for each in spent or [{}]), key=lambda found: found[0])
    adjacency = REPLACE_ONE if spent and all(map(is_local, spent)) else adjacency
    pure = adjacency == REPLACE_ONE and all(isinstance(cost, PureCost) for each in spent for cost in each)
    beside = [replace_one_of(each, delta) for each in spent if adjacency != REPLACE_ONE]
    return Claim(
        epsilon=value, delta=0.0 if pure else delta, adjacency=adjacency, accountant=accountant,
        protects=protects, per_element_epsilon=per_element_epsilon,
        replace_one_epsilon=_largest(beside),
    )  # fmt: skip


def _largest(found: Sequence[float | None]) -> float | None:
    """None where any of them could not be priced, or there is none."""
    known = [value for value in found if value is not None]
    return max(known) if known and len(known) == len(found) else None


def calibrate(
    event_for: Callable[[float], DpEvent], epsilon: float, delta: float, spent: Sequence[DpEvent] = ()
) -> float:
    """Find the least noise multiplier with which `spent` and `event_for(noise)` cost at most `epsilon`.

    Meets the target to 0.04 %, from below. Raises `BudgetError` when no noise is enough.

    Guarantee: what it returns is within the target by the reported figure, the larger of two accountants
    (`test_calibrated_noise_meets_its_target_and_hardly_exceeds_it`).
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise BudgetError(f"epsilon: expected a finite number above 0, found {epsilon!r}; state a positive ε")
    before = spending(spent)

    def exact(noise: float) -> float:
        return price(before + spending([event_for(noise)]), delta)[0]

    @cache
    def rough(noise: float) -> float:
        return _rough_price(before + spending([event_for(noise)]), delta)

    if before and (already := price(before, delta)[0]) > epsilon:
        raise BudgetError(
            f"ε = {already:.4g} at δ = {delta:g} is already spent on this fit, the target is {epsilon:g}; "
            "raise the target, or stop at the last checkpoint"
        )
    noise = _root(rough, epsilon, *_bracket(rough, epsilon, delta))
    return _settle(exact, rough, epsilon, noise)


def _bracket(cost: Callable[[float], float], target: float, delta: float) -> tuple[float, float]:
    """Two noise multipliers, a factor of 4 apart, of which the higher costs less than `target`."""
    high = 1.0
    while cost(high) > target:
        high *= 2
        if high > _MOST_NOISE:
            raise BudgetError(
                f"ε = {target:g} at δ = {delta:g} cannot be reached: a noise multiplier of {_MOST_NOISE:g} "
                f"still costs ε = {cost(high):.4g}; take fewer steps, or a larger ε or δ"
            )
    while high > _LEAST_NOISE and cost(high / 2) <= target:
        high /= 2
    return high / 2, high * 2


def _root(cost: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where `cost` falls to `target`, found in log-log, where it is nearly a straight line."""
    from scipy.optimize import brentq

    def excess(log_noise: float) -> float:
        # A cost of 0 has no logarithm; any number well below the target's serves.
        return math.log(max(cost(math.exp(log_noise)), target / 100) / target)

    ends = math.log(low), math.log(high)
    if excess(ends[0]) <= 0:
        return low
    if excess(ends[1]) >= 0:
        return high
    return math.exp(float(brentq(excess, *ends, xtol=_TOLERANCE)))


def _settle(
    exact: Callable[[float], float], rough: Callable[[float], float], target: float, noise: float
) -> float:
    """Move from where the rough cost meets `target` to where the exact one does, just below it."""
    aim = target * (1 - _TOLERANCE / 2)
    for _ in range(4):
        cost = exact(noise)
        if target * (1 - _TOLERANCE) <= cost <= target:
            return noise
        slope = math.log(max(rough(noise), _TINY) / max(rough(noise * 1.05), _TINY)) / math.log(1.05)
        if cost < _TINY or slope < 0.1:
            break  # too flat to follow; the steps below end it
        noise *= (cost / aim) ** (1 / slope)
    step = _TOLERANCE / 2
    while exact(noise) > target:
        noise, step = noise * (1 + step), step * 2
        if noise > 2 * _MOST_NOISE:
            raise BudgetError(
                f"ε = {target:g} cannot be reached by more noise; take fewer steps, or a larger ε or δ"
            )
    return noise


def _rough_price(spent: Spending, delta: float) -> float:
    """One accountant on a coarser grid: several times as fast, on the way to a target only."""
    pure, noisy, searches = _apart(spent)
    if _unprotected(noisy):
        return math.inf
    if searches:
        return pure + _price_of_search(noisy, searches, delta)[0]
    return pure + (_pld(noisy, delta, finest=1e-3)[0] if noisy else 0.0)


def _apart(
    spent: Spending, as_sums_of: float = 1.0
) -> tuple[float, Counter[NoisySumCost], Counter[SearchCost]]:
    """The sum of all pure ε; all Gaussian noise as noisy sums, each of `as_sums_of` clip norms; and searches.

    Vectors with noise of their own are first taken together, exactly: Gaussian noise of multipliers σ₁, σ₂, …
    costs together what one multiplier (Σ 1/σᵢ²)^−½ costs (Dong et al. 2019, arXiv 1905.02383, corollary 2). So
    that an accountant which takes a patient to move a sum by 2 clip norms prices them right, their noise is
    stated in clip norms of half their diameter.
    """
    sums: Counter[NoisySumCost] = Counter()
    searches: Counter[SearchCost] = Counter()
    pure, precision = [], []
    for cost, count in spent.items():
        match cost:
            case PureCost():
                pure.append(cost.epsilon * count)
            case LocalGaussianCost():
                precision.append(count / cost.noise**2)
            case SearchCost():
                searches[cost] += count
            case _:
                sums[cost] += count
    if precision:
        sums[NoisySumCost(1.0, as_sums_of * math.fsum(precision) ** -0.5)] += 1
    return math.fsum(pure), sums, searches


def _unprotected(spent: Sums) -> bool:
    return any(cost.noise == 0 for cost in spent)


def _price_of_search(spent: Sums, searches: Mapping[SearchCost, int], delta: float) -> tuple[float, str]:
    """ε by Rényi DP of searches and of the noisy sums beside them, composed.

    Guarantee: never below the formulas of Papernot and Steinke (2022), which the test writes out by itself
    (`test_a_search_costs_what_the_paper_says`).
    """
    from dp_accounting.rdp import RdpAccountant

    if _unprotected(spent):
        return math.inf, "no mechanism"
    together: Counter[Expense] = Counter()
    together.update(spent)
    together.update(searches)
    event = event_of(together)
    value = float(RdpAccountant(orders=_ORDERS_OF_SEARCH).compose(event).get_epsilon(delta))
    return value, _BY_SEARCH


def _price_of_noise(spent: Counter[NoisySumCost], delta: float) -> tuple[float, str]:
    if _unprotected(spent):
        return math.inf, "no mechanism"
    first, name = _pld(spent, delta)
    if all(cost.rate == 1 for cost in spent):
        exact = _analytic_gaussian(spent, delta)
        return max(first, exact), f"{name}, cross-checked with the analytic Gaussian"
    second = _prv(spent, delta, first) if name == "PLD" else None
    if second is None:
        return first, name
    return max(first, second), "PLD, cross-checked with PRV"


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise BudgetError(
            f"delta: expected a number above 0 and below 1, found {delta!r}; state a δ below 1/patients"
        )


def _pld(
    spent: Sums,
    delta: float,
    relation: NeighboringRelation | None = None,
    finest: float = 1e-4,
) -> tuple[float, str]:
    """ε by privacy loss distributions, rounded to bound from above; by RDP where they would be too large."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    event = event_of(spent)
    bound = RdpAccountant(orders=_ORDERS).compose(event).get_epsilon(delta)
    # Memory and time grow with ε over the grid's interval.
    interval = next((grid for grid in (1e-4, 1e-3, 1e-2, 1e-1) if bound <= _MOST_POINTS * grid), None)
    if interval is None:
        return float(bound), "RDP"
    accountant = PLDAccountant(
        relation or NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=max(interval, finest)
    )
    return float(accountant.compose(event).get_epsilon(delta)), "PLD"


def _analytic_gaussian(spent: Sums, delta: float) -> float:
    """Exact ε of composed Gaussian sums without sampling: Balle and Wang (2018), arXiv 1805.06530."""
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(sum(n / cost.noise**2 for cost, n in spent.items()) ** -0.5, delta))


def _prv(spent: Sums, delta: float, near: float) -> float | None:
    """Upper ε by Opacus' privacy random variables; None without Opacus, or where its numerics give up."""
    if near > 100:
        return None  # its grid would not fit into memory
    try:
        from opacus.accountants import PRVAccountant
    except ImportError:
        return None
    import numpy as np

    accountant = PRVAccountant()
    accountant.history = [(cost.noise, cost.rate, count) for cost, count in sorted(spent.items())]
    # Its bound is its estimate plus this error, so a small ε needs a smaller one.
    error = min(0.01, max(0.001, near / 100))
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Part of its method: log(0) at the end of the support, and RDP for the size of its grid.
            warnings.filterwarnings("ignore", message="Optimal order is the")
            value = float(accountant.get_epsilon(delta, eps_error=error))
    except (RuntimeError, ValueError, OverflowError):
        return None  # PLD alone is a proven bound; the claim then names PLD only
    return value if math.isfinite(value) else None
