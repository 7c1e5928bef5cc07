"""What was decided on the releases of a run, by people and by the gate: `decisions.jsonl`, which only grows."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from attrs import asdict, frozen

from privagams.pipeline import Pipeline

_NAME = "decisions.jsonl"


@frozen
class Decision:
    """One decision on one artifact. Another state of the same release needs its own."""

    release: str
    artifact: str
    decision: Literal["approved", "refused"]
    who: str
    when: str
    report: str
    """SHA-256 of the report.html upon which it was taken."""


def written_at(pipeline: Pipeline) -> str:
    """When something is decided or written: with a search in the pipeline the day alone.

    Guarantee: no decision or report of such a pipeline bears an hour, which would bound how long the search took
    (test_with_a_search_decisions_and_reports_bear_the_day_alone).
    """
    searched = any(release.search is not None for release in pipeline.releases)
    return datetime.now(UTC).strftime("%Y-%m-%d" if searched else "%Y-%m-%d %H:%M UTC")


def decisions(run_folder: Path) -> list[Decision]:
    path = run_folder / _NAME
    if not path.is_file():
        return []
    return [Decision(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def decision_on(run_folder: Path, artifact: str) -> Decision | None:
    """The decision on exactly this artifact; a refusal, once made, outlasts everything that follows."""
    found = [decision for decision in decisions(run_folder) if decision.artifact == artifact]
    refusals = [decision for decision in found if decision.decision == "refused"]
    return next(iter(refusals or found), None)


def add_decision(run_folder: Path, decision: Decision) -> None:
    with open(run_folder / _NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(decision), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
