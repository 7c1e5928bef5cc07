"""Measurements: a value with its 95 % interval and the number of units behind it."""

from attrs import frozen


@frozen
class Measurement:
    """One figure. The unit behind `n` is the patient unless `unit` says otherwise."""

    name: str
    value: float
    low: float
    high: float
    """`low` and `high` bound a 95 % interval."""
    n: int
    unit: str = "patient"
    chance: float | None = None
    """What a guesser would get: the mean of the permutation null, where there is one."""
    note: str = ""
    """A short qualification that must be printed with the figure, such as "same image"."""
