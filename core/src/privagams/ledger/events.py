"""What was computed on members' data, in the form in which it is priced and kept: costs, counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import astuple, frozen

from privagams.errors import PluginError

if TYPE_CHECKING:
    from dp_accounting import DpEvent


class EventError(PluginError, ValueError):
    """An event that cannot be priced: of an unknown kind, or with a parameter that makes no sense."""


@frozen(order=True)
class NoisySumCost:
    """One clipped sum over patients, each taking part with probability `rate`, plus Gaussian noise.

    `noise` is the noise's standard deviation over the clip norm; 0 stands for no protection at all.
    """

    rate: float
    noise: float


@frozen(order=True)
class LocalGaussianCost:
    """One vector of one patient, released with Gaussian noise; nobody else's is added to it.

    `noise` is the noise's standard deviation over the largest distance between any two vectors.
    """

    noise: float


@frozen(order=True)
class PureCost:
    """One vector or label of one patient, randomised so that any two have odds within e^±ε."""

    epsilon: float


@frozen(order=True)
class SearchCost:
    """Noisy sums, taken together a secret number of times of which only the best outcome is shown.

    `trials` is the mean of that number, `distribution` where it is drawn from; see `search_event.searched`.
    """

    trials: float
    distribution: str
    each: tuple[tuple[NoisySumCost, int], ...]
    """What one trial spends, in order."""


Expense = NoisySumCost | LocalGaussianCost | PureCost | SearchCost
UNPROTECTED = NoisySumCost(1.0, 0.0)
Spending = Mapping[Expense, int]
"""How often each cost was paid. Composition does not depend on the order."""
Sums = Mapping[NoisySumCost, int]
"""A spending on noisy sums alone."""


def pure(epsilon: float) -> DpEvent:
    """An ε-differentially private mechanism's event, for use within `local`."""
    from privagams.ledger.local_event import EpsilonDeltaDpEvent

    return EpsilonDeltaDpEvent(_pure(epsilon), 0.0)


def local(event: DpEvent) -> DpEvent:
    """The cost of one image that is randomised on its own: `event`, when its patient is replaced by any other.

    `event` may be `pure`, a Gaussian whose noise multiplier is its standard deviation over the diameter of what
    it randomises, or these composed and repeated; `EventError` for anything else.
    """
    from privagams.ledger.local_event import LocalDpEvent

    made = LocalDpEvent(event)
    event_to_json(made)
    return made


def is_local(spent: Spending) -> bool:
    """Whether all of it was paid for images randomised on their own, and something was."""
    return bool(spent) and all(isinstance(cost, LocalGaussianCost | PureCost) for cost in spent)


def ordered(spent: Spending | Sums) -> list[tuple[Expense, int]]:
    """In an order that depends on nothing but the costs."""
    return sorted(spent.items(), key=lambda item: (type(item[0]).__name__, astuple(item[0])))


def event_to_json(event: DpEvent) -> dict[str, Any]:
    """Describe `event` in plain values; raises `EventError` for what `event_from_json` would refuse."""
    return _described(event)


def _described(event: DpEvent, within: str = "") -> dict[str, Any]:
    """`within`: "local" or "search", where it is a part of one."""
    import dp_accounting as dp
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    from privagams.ledger import search_event
    from privagams.ledger.local_event import EpsilonDeltaDpEvent, LocalDpEvent

    match event:
        case dp.NonPrivateDpEvent() if not within:
            return {"type": "non-private"}
        case dp.NoOpDpEvent() if not within:
            return {"type": "no-op"}
        case dp.PoissonSampledDpEvent() if within != "local":
            inner = _described(event.event, within)
            return {"type": "poisson", "rate": _rate(event.sampling_probability), "event": _gaussian(inner)}
        case LocalDpEvent() if not within:
            return {"type": "local", "event": _described(event.event, "local")}
        case RepeatAndSelectDpEvent() if not within:
            return {
                "type": "search", "trials": search_event.trials_of(event.mean),
                "distribution": search_event.distribution_of(event.shape),
                "event": _described(event.event, "search"),
            }  # fmt: skip
        case EpsilonDeltaDpEvent() if within == "local":
            return {"type": "pure", "epsilon": _undiluted(event.epsilon, event.delta)}
        case dp.GaussianDpEvent():
            return {"type": "gaussian", "noise_multiplier": _noise(event.noise_multiplier)}
        case dp.SelfComposedDpEvent():
            return {"type": "repeat", "count": _count(event.count), "event": _described(event.event, within)}
        case dp.ComposedDpEvent():
            return {"type": "all", "events": [_described(part, within) for part in event.events]}
    wanted = {
        "local": "pure guarantees or Gaussian noise, repeated or composed, within a local event",
        "search": "Gaussian sums, Poisson-sampled or not, repeated or composed, within a search",
        "": "Gaussian sums, Poisson-sampled or not, searches over them, or local events, repeated or composed",
    }[within]
    raise EventError(
        f"event: expected {wanted}, found {type(event).__name__}; state the mechanism's cost by these"
        + ("" if within else ", or by NonPrivateDpEvent; a pure guarantee belongs within `local`")
    )


def event_from_json(value: Mapping[str, Any]) -> DpEvent:
    """Read what `event_to_json` wrote; raises `EventError` for anything else."""
    return _read(value)


def _read(value: Mapping[str, Any], within: str = "") -> DpEvent:
    import dp_accounting as dp
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    from privagams.ledger import search_event
    from privagams.ledger.local_event import LocalDpEvent

    match _kind(value, within):
        case "non-private":
            return dp.NonPrivateDpEvent()
        case "no-op":
            return dp.NoOpDpEvent()
        case "gaussian":
            return dp.GaussianDpEvent(_noise(value["noise_multiplier"]))
        case "poisson":
            return dp.PoissonSampledDpEvent(_rate(value["rate"]), _read(_gaussian(value["event"]), within))
        case "local":
            return LocalDpEvent(_read(value["event"], "local"))
        case "search":
            return RepeatAndSelectDpEvent(
                _read(value["event"], "search"), search_event.trials_of(value["trials"]),
                search_event.shape_of(value["distribution"]),
            )  # fmt: skip
        case "pure":
            return pure(value["epsilon"])
        case "repeat":
            return dp.SelfComposedDpEvent(_read(value["event"], within), _count(value["count"]))
        case _:
            return dp.ComposedDpEvent([_read(part, within) for part in value["events"]])


_FIELDS: Mapping[str, set[str]] = {
    "gaussian": {"type", "noise_multiplier"},
    "poisson": {"type", "rate", "event"},
    "local": {"type", "event"},
    "search": {"type", "trials", "distribution", "event"},
    "pure": {"type", "epsilon"},
    "repeat": {"type", "count", "event"},
    "all": {"type", "events"},
    "non-private": {"type"},
    "no-op": {"type"},
}
_FORBIDDEN: Mapping[str, set[str]] = {
    "": {"pure"},
    "local": {"poisson", "local", "search", "non-private", "no-op"},
    "search": {"pure", "local", "search", "non-private", "no-op"},
}


def _kind(value: object, within: str) -> str:
    """The type that `value` says it is, once its fields are those of that type and it may stand where it does."""
    forbidden = _FORBIDDEN[within]
    kind = value.get("type") if isinstance(value, Mapping) else None
    if (
        not isinstance(value, Mapping)
        or set(value) != _FIELDS.get(str(kind), {None})
        or kind in forbidden
        or (kind == "all" and not isinstance(value["events"], list | tuple))
    ):
        allowed = ", ".join(name for name in _FIELDS if name not in forbidden)
        where = {"": "", "local": " within a local event", "search": " within a search"}[within]
        raise EventError(f"event: expected one of {allowed}{where} with its fields, found {value!r}")
    return str(kind)


def spending(events: Iterable[DpEvent]) -> Counter[Expense]:
    """Count the costs in `events`, however they are nested."""
    return spending_of_json(event_to_json(event) for event in events)


def spending_of_json(values: Iterable[Mapping[str, Any]]) -> Counter[Expense]:
    """Count the costs in events as `event_to_json` writes them; raises `EventError` for anything else."""
    total: Counter[Expense] = Counter()
    for value in values:
        for cost, count in _costs(value, 1):
            total[cost] += count
    return total


def event_of(spent: Spending | Sums) -> DpEvent:
    """The composition of counted costs, as one event."""
    import dp_accounting as dp

    parts = [
        one if count == 1 else dp.SelfComposedDpEvent(one, count)
        for one, count in ((_event_of(cost), count) for cost, count in ordered(spent))
    ]
    return parts[0] if len(parts) == 1 else dp.ComposedDpEvent(parts)


def _event_of(cost: Expense) -> DpEvent:
    import dp_accounting as dp

    match cost:
        case PureCost():
            return local(pure(cost.epsilon))
        case LocalGaussianCost():
            return local(dp.GaussianDpEvent(cost.noise))
        case SearchCost():
            from dp_accounting.dp_event import RepeatAndSelectDpEvent

            from privagams.ledger.search_event import shape_of

            return RepeatAndSelectDpEvent(event_of(dict(cost.each)), cost.trials, shape_of(cost.distribution))
    if cost.noise == 0:
        return dp.NonPrivateDpEvent()
    gaussian = dp.GaussianDpEvent(cost.noise)
    return gaussian if cost.rate == 1 else dp.PoissonSampledDpEvent(cost.rate, gaussian)


def _costs(value: Mapping[str, Any], times: int, within: str = "") -> Iterator[tuple[Expense, int]]:
    match _kind(value, within):
        case "non-private":
            yield UNPROTECTED, times
        case "gaussian":
            noise = _noise(value["noise_multiplier"])
            yield LocalGaussianCost(noise) if within == "local" else NoisySumCost(1.0, noise), times
        case "poisson":
            inner = _gaussian(value["event"])
            _kind(inner, within)
            yield NoisySumCost(_rate(value["rate"]), _noise(inner["noise_multiplier"])), times
        case "pure":
            yield PureCost(_pure(value["epsilon"])), times
        case "local":
            yield from _costs(value["event"], times, "local")
        case "search":
            yield _search(value), times
        case "repeat":
            yield from _costs(value["event"], times * _count(value["count"]), within)
        case "all":
            for part in value["events"]:
                yield from _costs(part, times, within)


def _search(value: Mapping[str, Any]) -> SearchCost:
    from privagams.ledger import search_event

    search_event.shape_of(value["distribution"])
    each: Counter[NoisySumCost] = Counter()
    for cost, count in _costs(value["event"], 1, "search"):
        assert isinstance(cost, NoisySumCost)  # nothing else may stand within a search
        each[cost] += count
    if not each:
        raise EventError("event: expected noisy sums within a search, found none")
    return SearchCost(
        search_event.trials_of(value["trials"]), value["distribution"], tuple(sorted(each.items()))
    )


def _gaussian(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or value.get("type") != "gaussian":
        raise EventError(f"event: expected a Gaussian sum under Poisson sampling, found {value!r}")
    return value


def _noise(value: object) -> float:
    return _number(value, "noise multiplier", "above 0", lambda x: x > 0)


def _rate(value: object) -> float:
    return _number(value, "sampling probability", "in (0, 1]", lambda x: 0 < x <= 1)


def _pure(value: object) -> float:
    return _number(value, "epsilon", "of at least 0", lambda x: x >= 0)


def _undiluted(epsilon: object, delta: object) -> float:
    if _number(delta, "delta", "of at least 0", lambda x: x >= 0) != 0:
        raise EventError(
            f"event: expected a pure guarantee, with a delta of 0, found {delta!r}; state Gaussian noise by "
            "GaussianDpEvent"
        )
    return _pure(epsilon)


def _number(value: object, name: str, bounds: str, fits: Any) -> float:
    number = float(value) if hasattr(value, "__float__") and not isinstance(value, bool | str) else math.nan
    if not (math.isfinite(number) and fits(number)):
        raise EventError(f"event: expected a finite {name} {bounds}, found {value!r}")
    return number


def _count(value: object) -> int:
    whole = int(value) if hasattr(value, "__index__") and not isinstance(value, bool) else 0
    if whole < 1:
        raise EventError(f"event: expected a whole number of repetitions of at least 1, found {value!r}")
    return whole
