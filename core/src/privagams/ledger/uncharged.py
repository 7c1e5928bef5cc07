"""An account for trainings that nothing of may ever leave: shadows and audits. It charges nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privagams.ledger.chain import START, Head

if TYPE_CHECKING:
    from dp_accounting import DpEvent


class Uncharged:
    """Fulfils `training.job.Account` in memory, so that a mechanism runs exactly as it would for a release.

    A shadow is seen by attacks only, and their figures are outside every claim and marked so. What it spends is
    therefore not written down, and a shadow cut short starts anew instead of resuming.
    """

    def __init__(self) -> None:
        self._events: list[DpEvent] = []

    @property
    def head(self) -> Head:
        return START

    def spent(self) -> Sequence[DpEvent]:
        return tuple(self._events)

    def plan(self, event: DpEvent) -> None:
        """Nothing to refuse: no budget is touched."""

    def reserve(self, event: DpEvent, steps: int) -> int:
        self._events.append(event)
        return len(self._events)

    def close(self, block: Any, checkpoint: str) -> None:
        """Nothing is kept."""

    def check(self, head: Head, where: Path | None = None) -> None:
        """There is no history to compare with."""
