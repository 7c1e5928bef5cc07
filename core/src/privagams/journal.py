"""What happens in a run: bars on a terminal, plain lines elsewhere, and always `events.jsonl`.

Nothing that depends on members' data may go through here: no losses, no batch sizes, no file names.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from privagams.failures import headline

_PLAIN_SECONDS = 30.0
_LOG_SECONDS = 5.0


class Journal:
    """One run's log and its face to the person who waits."""

    def __init__(self, log: Path, console: Console) -> None:
        self.console = console
        self._log = open(log, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed in __exit__
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=console, transient=True,
            )  # fmt: skip
            self._bars.start()
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._spoken: dict[str, float] = {}
        self._logged: dict[str, float] = {}
        self._untimed: set[str] = set()
        self.seconds: dict[str, float] = {}
        """How long stages took, but for searches; of those that ended since one began it stands here alone."""
        self.searching = ""
        """The search that is running."""

    @property
    def tells_times(self) -> bool:
        """Whether the log still says when things happen: not after a stage whose length is a secret has begun."""
        return not self._untimed

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._log.close()

    def log(self, event: str, **facts: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {**({"time": now} if self.tells_times else {}), "event": event, **facts}
        self._log.write(json.dumps(line, ensure_ascii=False) + "\n")

    def say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def start(self, stage: str, timed: bool = True) -> None:
        """Note that a stage begins; of one that is not `timed`, how long it takes is told nowhere.

        Guarantee: from its start on no line holds a time or a length of time, and of any stage there is nothing but
        that it began and how it ended (test_the_log_does_not_tell_how_long_a_search_took).
        """
        if not timed:
            self._untimed.add(stage)
            self.searching = stage
            self.say(
                f"{stage}: a search; how far it is and how long it takes is not told, as that would tell how many "
                "trainings there were. Do not stop it: cut short, it stays paid for and is not run again"
            )
        self._started[stage] = self._spoken[stage] = self._logged[stage] = time.monotonic()
        self.log("start", stage=stage)
        if self._bars is not None:
            self._tasks[stage] = self._bars.add_task(stage, total=None)

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show how far a stage is; `note` is for the person who waits, and stands in no log."""
        if stage in self._untimed:
            return
        now = time.monotonic()
        # As they come every few seconds, their number would tell how long the stage takes.
        if self.tells_times and now - self._logged[stage] >= _LOG_SECONDS:
            self._logged[stage] = now
            self.log("progress", stage=stage, done=done, total=total)
        if self._bars is not None:
            shown = f"{stage}, {note}" if note else None
            self._bars.update(self._tasks[stage], completed=done, total=total, description=shown)
            return
        # The first hundredth holds the start-up: an estimate from it would only frighten.
        if now - self._spoken[stage] >= _PLAIN_SECONDS and done > total / 100:
            self._spoken[stage] = now
            left = (now - self._started[stage]) * (total - done) / done
            said = f", {note}" if note else ""
            self.say(f"{stage}: {done} of {total}, about {duration(left)} left{said}")

    def end(self, stage: str) -> None:
        seconds = time.monotonic() - self._started[stage]
        if stage not in self._untimed:
            self.seconds[stage] = seconds
        self.log("end", stage=stage, **({"seconds": round(seconds, 1)} if self.tells_times else {}))
        self._drop(stage)
        self.say(f"{stage}: done" + (f" in {duration(seconds)}" if self.tells_times else ""))

    def fail(self, stage: str, reason: str) -> None:
        self.log("failed", stage=stage, reason=headline(reason))
        self._drop(stage)
        self.say(f"{stage}: failed: {reason}", style="red")

    def _drop(self, stage: str) -> None:
        if stage == self.searching:
            self.searching = ""
        if self._bars is not None and stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))


def duration(seconds: float) -> str:
    """A length of time as people say it: "4.2 s", "42 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
