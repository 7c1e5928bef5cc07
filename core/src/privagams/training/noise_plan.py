"""How much noise each phase's steps get, so that they and what was spent before keep to the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from attrs import frozen
from dp_accounting import ComposedDpEvent, DpEvent

from privagams.ledger import accounting
from privagams.roles import Mechanism, Phase, Summarised, Sums, Trained

MOST_EXTRA_NOISE = 4.0
"""After an interruption: beyond this many times the planned noise, rather fewer steps than noisier ones."""


@frozen
class Stretch:
    """A phase's noisy steps: how many were planned, how many are left, and its share of the budget."""

    planned: int
    left: int
    share: float = 1.0


def learning_of(model: Trained | Summarised) -> list[Phase | Sums]:
    """What a model does to learn, in order."""
    return list(model.sums() if isinstance(model, Summarised) else model.phases())


def asks_members(part: Phase | Sums) -> bool:
    """Whether a stretch touches members' data."""
    return isinstance(part, Sums) or part.data == "members"


def steps_of(part: Phase | Sums) -> int:
    """How many sums, or optimiser steps, a stretch takes."""
    return part.count if isinstance(part, Sums) else part.steps


def noisy_stretches(parts: Sequence[Phase | Sums]) -> list[Stretch]:
    """The stretches that cost privacy, none of them begun."""
    return [Stretch(steps_of(p), steps_of(p), p.share) for p in parts if asks_members(p)]


@frozen
class Dose:
    """What a stretch gets: how many steps may run, with which noise, and with which they would have run."""

    steps: int
    noise_multiplier: float
    planned: float


def plan_noise(
    mechanism: Mechanism,
    stretches: Sequence[Stretch],
    patients: int,
    spent: Sequence[DpEvent] = (),
    before: Sequence[float] = (),
) -> list[Dose]:
    """Choose noise for the steps that are left, counting `spent` in full.

    `before`: the multipliers that were planned when an interrupted training began, where they are known.

    Phase i with T_i planned steps and share s_i gets the multiplier z·√(T_i / s_i) / √(Σ T / Σ s), so that
    its steps together take its share of 1/z² whatever their number; z is calibrated for all phases together.
    When z would exceed `MOST_EXTRA_NOISE` times what was planned, the last steps are dropped.

    Guarantee: `spent` and the plan together cost at most (mechanism.epsilon, mechanism.delta)
    (test_total_epsilon_keeps_to_the_target_after_a_crash_at_every_point).
    """
    weights = _weights(stretches)

    def event(scale: float, steps: Sequence[int]) -> DpEvent:
        some = [(w, n) for w, n in zip(weights, steps, strict=True) if n > 0]
        parts = [mechanism.event(scale * w, n, patients) for w, n in some]
        return parts[0] if len(parts) == 1 else ComposedDpEvent(parts)

    whole = [s.planned for s in stretches]
    if spent and before:
        planned = before[0] / weights[0]
    else:
        planned = accounting.calibrate(lambda z: event(z, whole), mechanism.epsilon, mechanism.delta)
    scale, steps = planned, [s.left for s in stretches]
    if spent and sum(steps) > 0:
        scale, steps = _replan(mechanism, event, planned, steps, spent)
    return [Dose(n, scale * w, planned * w) for n, w in zip(steps, weights, strict=True)]


def planned_event(mechanism: Mechanism, doses: Sequence[Dose], patients: int) -> DpEvent:
    """What all doses cost together."""
    some = [(dose.noise_multiplier, dose.steps) for dose in doses if dose.steps]
    return ComposedDpEvent([mechanism.event(z, n, patients) for z, n in some])


def interruption_notes(doses: Sequence[Dose], left: int) -> tuple[str, ...]:
    """Say what an interruption took, as a reader of the report must know it; nothing if it took nothing."""
    run = [dose for dose in doses if dose.steps]
    if sum(dose.steps for dose in run) < left:
        kept = sum(dose.steps for dose in run)
        return (
            f"after an interruption, whose reserved budget counts in full, {kept} of the {left} steps that "
            "were left could run within the target; training stopped there",
        )
    more = max((dose.noise_multiplier / dose.planned for dose in run), default=1.0)
    if more > 1.001:
        return (
            f"after an interruption, whose reserved budget counts in full, the {left} steps that were left "
            f"ran with {more:.3g} times the planned noise, to stay within the target",
        )
    return ()


def _replan(
    mechanism: Mechanism,
    event: Callable[[float, Sequence[int]], DpEvent],
    planned: float,
    left: list[int],
    spent: Sequence[DpEvent],
) -> tuple[float, list[int]]:
    most = MOST_EXTRA_NOISE * planned

    def fits(steps: int, scale: float = most) -> bool:
        events = [*spent, event(scale, _first(left, steps))] if steps else spent
        return accounting.epsilon(events, mechanism.delta)[0] <= mechanism.epsilon

    if fits(sum(left), planned):
        return planned, left
    if fits(sum(left)):
        again = accounting.calibrate(lambda z: event(z, left), mechanism.epsilon, mechanism.delta, spent)
        return min(again, most), left
    fitting, too_many = 0, sum(left)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if fits(middle) else (fitting, middle)
    return most, _first(left, fitting)


def _first(left: Sequence[int], steps: int) -> list[int]:
    """Keep the first `steps` of all that is left."""
    kept = []
    for n in left:
        kept.append(min(n, steps))
        steps -= kept[-1]
    return kept


def _weights(stretches: Sequence[Stretch]) -> list[float]:
    overall = sum(s.planned for s in stretches) / sum(s.share for s in stretches)
    return [math.sqrt(s.planned / s.share / overall) for s in stretches]
