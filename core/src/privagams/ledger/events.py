"""What was computed on members' data, in the form in which it is priced and kept: noisy sums, counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

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


UNPROTECTED = NoisySumCost(1.0, 0.0)
Spending = Mapping[NoisySumCost, int]
"""How often each noisy sum was drawn. Composition does not depend on the order."""


def event_to_json(event: DpEvent) -> dict[str, Any]:
    """Describe `event` in plain values; raises `EventError` for what `event_from_json` would refuse."""
    import dp_accounting as dp

    match event:
        case dp.NonPrivateDpEvent():
            return {"type": "non-private"}
        case dp.NoOpDpEvent():
            return {"type": "no-op"}
        case dp.GaussianDpEvent():
            return {"type": "gaussian", "noise_multiplier": _noise(event.noise_multiplier)}
        case dp.PoissonSampledDpEvent():
            inner = event_to_json(event.event)
            return {"type": "poisson", "rate": _rate(event.sampling_probability), "event": _gaussian(inner)}
        case dp.SelfComposedDpEvent():
            return {"type": "repeat", "count": _count(event.count), "event": event_to_json(event.event)}
        case dp.ComposedDpEvent():
            return {"type": "all", "events": [event_to_json(part) for part in event.events]}
    raise EventError(
        f"event: expected Gaussian sums, Poisson-sampled or not, repeated or composed, found "
        f"{type(event).__name__}; state the mechanism's cost by these, or by NonPrivateDpEvent"
    )


def event_from_json(value: Mapping[str, Any]) -> DpEvent:
    """Read what `event_to_json` wrote; raises `EventError` for anything else."""
    import dp_accounting as dp

    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or set(value) != _FIELDS.get(str(kind), {None}):
        raise EventError(f"event: expected one of {', '.join(_FIELDS)} with its fields, found {value!r}")
    match kind:
        case "non-private":
            return dp.NonPrivateDpEvent()
        case "no-op":
            return dp.NoOpDpEvent()
        case "gaussian":
            return dp.GaussianDpEvent(_noise(value["noise_multiplier"]))
        case "poisson":
            return dp.PoissonSampledDpEvent(_rate(value["rate"]), event_from_json(_gaussian(value["event"])))
        case "repeat":
            return dp.SelfComposedDpEvent(event_from_json(value["event"]), _count(value["count"]))
        case _:
            return dp.ComposedDpEvent([event_from_json(part) for part in value["events"]])


_FIELDS: Mapping[str, set[str]] = {
    "gaussian": {"type", "noise_multiplier"},
    "poisson": {"type", "rate", "event"},
    "repeat": {"type", "count", "event"},
    "all": {"type", "events"},
    "non-private": {"type"},
    "no-op": {"type"},
}


def spending(events: Iterable[DpEvent]) -> Counter[NoisySumCost]:
    """Count the noisy sums in `events`, however they are nested."""
    return spending_of_json(event_to_json(event) for event in events)


def spending_of_json(values: Iterable[Mapping[str, Any]]) -> Counter[NoisySumCost]:
    """Count the noisy sums in events as `event_to_json` writes them."""
    total: Counter[NoisySumCost] = Counter()
    for value in values:
        for cost, count in _sums(value, 1):
            total[cost] += count
    return total


def event_of(spent: Spending) -> DpEvent:
    """The composition of counted noisy sums, as one event."""
    import dp_accounting as dp

    parts: list[DpEvent] = []
    for cost, count in sorted(spent.items()):
        if cost.noise == 0:
            parts.append(dp.NonPrivateDpEvent())
            continue
        gaussian = dp.GaussianDpEvent(cost.noise)
        sampled = gaussian if cost.rate == 1 else dp.PoissonSampledDpEvent(cost.rate, gaussian)
        parts.append(sampled if count == 1 else dp.SelfComposedDpEvent(sampled, count))
    return parts[0] if len(parts) == 1 else dp.ComposedDpEvent(parts)


def _sums(value: Mapping[str, Any], times: int) -> Iterator[tuple[NoisySumCost, int]]:
    match value["type"]:
        case "non-private":
            yield UNPROTECTED, times
        case "gaussian":
            yield NoisySumCost(1.0, _noise(value["noise_multiplier"])), times
        case "poisson":
            yield NoisySumCost(_rate(value["rate"]), _noise(value["event"]["noise_multiplier"])), times
        case "repeat":
            yield from _sums(value["event"], times * _count(value["count"]))
        case "all":
            for part in value["events"]:
                yield from _sums(part, times)


def _gaussian(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or value.get("type") != "gaussian":
        raise EventError(f"event: expected a Gaussian sum under Poisson sampling, found {value!r}")
    return value


def _noise(value: object) -> float:
    return _number(value, "noise multiplier", "above 0", lambda x: x > 0)


def _rate(value: object) -> float:
    return _number(value, "sampling probability", "in (0, 1]", lambda x: 0 < x <= 1)


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
