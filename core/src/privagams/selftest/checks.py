"""What a check is: a known answer, what was found instead of it, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import asdict, frozen


@frozen
class Question:
    """A problem with a known answer, not yet asked."""

    name: str
    expected: float
    tolerance: float
    ask: Callable[[], float]


Questions = Iterator[Question]


@frozen
class Check:
    """A question that was asked."""

    name: str
    expected: float | None
    """None where the question itself could not be put."""
    found: float | None
    """None where there was no answer; then `note` says why."""
    tolerance: float
    """How far `found` may lie from `expected` on either side."""
    seconds: float
    note: str = ""

    @property
    def passed(self) -> bool:
        if self.found is None or self.expected is None:
            return False
        return abs(self.found - self.expected) <= self.tolerance


@frozen
class Selftest:
    """The outcome of the whole suite."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether every answer was right, and there were any."""
        return bool(self.checks) and not self.failed

    def to_json(self) -> dict[str, Any]:
        """Plain values: `passed` and `total` are counts."""
        return {
            "passed": len(self.checks) - len(self.failed),
            "total": len(self.checks),
            "seconds": round(self.seconds, 2),
            "checks": [asdict(check) | {"passed": check.passed} for check in self.checks],
        }
