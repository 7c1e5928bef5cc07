"""The events of what is randomised patient by patient, which dp_accounting 0.6 has no names for."""

from __future__ import annotations

from attrs import frozen
from dp_accounting import DpEvent


@frozen
class EpsilonDeltaDpEvent(DpEvent):  # type: ignore[misc]  # the library is untyped
    """A mechanism that is (ε, δ)-differentially private, of which no more is known."""

    epsilon: float
    delta: float


@frozen
class LocalDpEvent(DpEvent):  # type: ignore[misc]  # the library is untyped
    """One image of a patient, randomised on its own; `event` is its cost when the patient is replaced by another."""

    event: DpEvent
