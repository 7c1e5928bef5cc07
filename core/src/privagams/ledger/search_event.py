"""The cost of a search: a computation repeated a secret, random number of times, of which only the best is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Distribution = Literal["poisson", "geometric"]
DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)
MOST_TRIALS = 10_000
_SHAPES: Mapping[str, float] = {"poisson": float("inf"), "geometric": 1.0}


def searched(event: DpEvent, trials: float, distribution: Distribution = "geometric") -> DpEvent:
    """The cost of running what `event` costs K times, K secret, and showing nothing but the best of what came out.

    K is drawn from `distribution` with mean `trials`: "poisson", which may be nought, or "geometric", at least 1.
    Rényi DP of order λ (Papernot and Steinke 2022, arXiv 2110.03620), where one run has (λ, ε(λ)) for all λ:

    * "geometric" (theorem 2 with η = 1, γ = 1/trials):
      ε(λ) + 2·min over λ̂ of ((1 − 1/λ̂)·ε(λ̂) + log(trials)/λ̂) + log(trials)/(λ − 1);
    * "poisson" (theorem 6): ε(λ) + trials·δ̂ + log(trials)/(λ − 1), where one run is also (log(1 + 1/(λ − 1)), δ̂)-DP.

    Raises `EventError` for an `event` that is not made of noisy sums, and for less than one trial.
    """
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    from privagams.ledger.events import event_to_json

    made = RepeatAndSelectDpEvent(event, trials_of(trials), shape_of(distribution))
    event_to_json(made)
    return made


def each_of(event: DpEvent) -> DpEvent:
    """What any one computation of a search costs; any other event as it is."""
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    found: DpEvent = event.event if isinstance(event, RepeatAndSelectDpEvent) else event
    return found


def holds_search(cost: Mapping[str, Any]) -> bool:
    """Whether an event, as the ledger writes it, is a search or has one in it."""
    inner = [*cost.get("events", ()), *([cost["event"]] if "event" in cost else [])]
    return cost["type"] == "search" or any(holds_search(part) for part in inner)


def trials_of(value: object) -> float:
    """A number of trials, checked."""
    from privagams.ledger.events import EventError

    number = float(value) if hasattr(value, "__float__") and not isinstance(value, bool | str) else 0.0
    if not 1 <= number <= MOST_TRIALS:  # also refuses nan
        raise EventError(f"event: expected 1 to {MOST_TRIALS} trials of a search on average, found {value!r}")
    return number


def shape_of(distribution: object) -> float:
    """dp_accounting's name for a distribution of the number of trials."""
    from privagams.ledger.events import EventError

    if not isinstance(distribution, str) or distribution not in _SHAPES:
        raise EventError(
            f"event: expected a number of trials that is one of {', '.join(DISTRIBUTIONS)}, found {distribution!r}"
        )
    return _SHAPES[distribution]


def distribution_of(shape: Any) -> str:
    """The distribution that dp_accounting means by `shape`; raises `EventError` for those that are not offered."""
    from privagams.ledger.events import EventError

    for name, known in _SHAPES.items():
        if shape == known:
            return name
    raise EventError(
        f"event: expected a search of shape 1 (geometric) or infinity (Poisson), found {shape!r}"
    )
