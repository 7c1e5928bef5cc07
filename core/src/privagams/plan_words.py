"""`privagams plan`: what would run, what is done already, how long, and the budget before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from privagams.errors import ExitCode
from privagams.journal import duration
from privagams.shadow_times import seconds_of_one

if TYPE_CHECKING:
    from privagams.run import Prepared


def show_plan(prepared: Prepared) -> int:
    """Print the plan; runs nothing. Exit code 4 when the budget would refuse it."""
    from privagams.ledger.budget import forecast
    from privagams.run import warnings

    console = Console()
    times = past_seconds(prepared.run_folder / "events.jsonl")
    table = Table("stage", "with", "state", box=None, header_style="bold")
    missing = {stage.artifact for stage in prepared.plan.missing(prepared.store)}
    for stage in prepared.plan.stages:
        state = "done"
        if stage.artifact in missing:
            state = "to do"
            if stage.searches:
                state = "to do; how long it takes is told nowhere"
            elif stage.name in times:
                state = f"to do, took {duration(times[stage.name])} last time"
        table.add_row(stage.name, ", ".join(sorted(set(stage.components.values()))), state)
    console.print(table)
    for text in _shadow_times(prepared, times):
        console.print(text, markup=False, highlight=False)
    patients = len({image.patient for image in prepared.images})
    console.print(f"{len(prepared.images)} images of {patients} patients; {len(missing)} of "
                  f"{len(prepared.plan.stages)} stages to do.", highlight=False)  # fmt: skip
    lost = [image.path for image in prepared.images if not image.path.is_file()]
    for path in lost[:5]:
        console.print(f"no such file: {path}", style="yellow", markup=False)
    for text in warnings(prepared.pipeline):
        console.print(f"warning: {text}", style="yellow", markup=False)
    spending = forecast(prepared, prepared.plan.missing(prepared.store))
    for line in spending.lines:
        console.print(line, markup=False, highlight=False)
    return int(ExitCode.REFUSED if spending.refused else ExitCode.OK)


def _shadow_times(prepared: Prepared, times: Mapping[str, float]) -> list[str]:
    """How long shadow models will take, and whether that is within what is allowed."""
    said = []
    allowed = prepared.pipeline.audit.shadow_budget * 3600
    for release in prepared.pipeline.releases:
        shadows = prepared.plan.of("shadow", release.name)
        left = [s for s in shadows if not prepared.store.has(s.verb, s.key)]
        if not left:
            continue
        each = seconds_of_one(prepared.plan, release.name, times)
        first = "the first" if release.search is not None else "it"
        how_long = f"how long is known once {first} is trained"
        if each is not None:
            how_long = f"about {duration(each * len(left))} of one core"
        said.append(
            f"{release.name}: {len(left)} shadow models to train, {how_long}; at most {duration(allowed)} are allowed "
            "([audit] shadow_budget), else attacks that need them are skipped."
        )
    return said


def past_seconds(log: Path) -> dict[str, float]:
    """How long each stage took when it last ended, where the log tells it."""
    return {stage: seconds for stage, seconds in past_ends(log).items() if seconds is not None}


def past_ends(log: Path) -> dict[str, float | None]:
    """The stages that ended, each with how long it took; None from the start of a search on."""
    seconds: dict[str, float | None] = {}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except json.JSONDecodeError:  # a line cut short by a crash
                continue
            if event.get("event") == "end":
                seconds[event["stage"]] = event.get("seconds")
    return seconds
