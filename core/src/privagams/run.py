"""A run: executes the plan's missing stages, several at once, and ends with the report."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import frozen
from filelock import FileLock, Timeout

from privagams import __version__
from privagams.context import Context, DatasetHome, open_home
from privagams.errors import ConfigError, ExitCode
from privagams.journal import Journal, duration
from privagams.pipeline import Pipeline, delta_of
from privagams.plan import Plan, Stage, make_plan
from privagams.plan_words import past_seconds
from privagams.plugins import Registry, discover
from privagams.shadow_times import seconds_of_one
from privagams.source import Digests, image_files, read_rows, refuse_shared_images
from privagams.splits import MEMBER, NONMEMBER, REFERENCE, role_of
from privagams.stages import perform
from privagams.store import Store, digest, disk_error, write_json
from privagams.workers import Pool


@frozen
class Prepared:
    """All that is known before anything runs."""

    pipeline: Pipeline
    registry: Registry
    home: DatasetHome
    run_folder: Path
    images: Sequence[Any]
    plan: Plan
    device: str = "cpu"

    @property
    def store(self) -> Store:
        return Store(self.run_folder / "artifacts")

    @property
    def context(self) -> Context:
        return Context(self.pipeline, self.run_folder, self.home, self.device)


def prepare(pipeline: Pipeline, registry: Registry, runs: Path) -> Prepared:
    """Read the table, digest the images, make the plan. Creates the run folder, private to its owner."""
    home = open_home(pipeline.source.dataset)
    rows = read_rows(pipeline)
    run_folder = runs / pipeline.name
    try:
        for folder in (runs, run_folder, run_folder / "artifacts", run_folder / "private"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        digests = Digests(run_folder / "private" / "digests.json")
        found = [digests.of(row.path) for row in rows]
        refuse_shared_images(rows, found)
        images = image_files(rows, home.key)
        content = sorted(
            [i.patient, i.slide, i.image, str(i.mpp), sorted(i.columns.items()), content]
            for i, content in zip(images, found, strict=True)
        )
        digests.save()
    except OSError as error:
        raise disk_error(error, run_folder) from error
    _require_patients(pipeline, home, images)
    plan = make_plan(pipeline, registry, digest(content), digest([home.key.hex(), home.salt.hex()]))
    return Prepared(pipeline, registry, home, run_folder, images, plan)


def warnings(pipeline: Pipeline) -> list[str]:
    """What is allowed but unwise, by TOML path."""
    found = []
    for index, release in enumerate(pipeline.releases):
        delta = delta_of(release)
        if delta * pipeline.public.patients >= 1:
            found.append(
                f"releases[{index}].mechanism.delta: {delta:g} is not below 1/{pipeline.public.patients} patients: "
                "a release that publishes one random patient in full would satisfy it; choose a smaller one"
            )
    return found


def _require_patients(pipeline: Pipeline, home: DatasetHome, images: Sequence[Any]) -> None:
    """Refuse beforehand what the split stage would refuse after hours of reading."""
    if not pipeline.releases:
        return
    patients = sorted({image.patient for image in images})
    roles = Counter(role_of(pipeline.split, home.salt, patient) for patient in patients)
    wanted = {MEMBER: 2, NONMEMBER: 2, **({REFERENCE: 2} if pipeline.split.reference else {})}
    short = [
        f"split: expected at least {count} {role} patients, found {roles[role]} of {len(patients)} in the table; "
        "add patients, or change the shares under [split]"
        for role, count in wanted.items()
        if roles[role] < count
    ]
    if short:
        raise ConfigError(short)


def run(prepared: Prepared, journal: Journal, jobs: int) -> ExitCode:
    """Execute what is missing; returns the exit code. Errors that stop everything are raised."""
    with alone_in(prepared.run_folder):
        return _Run(prepared, journal, jobs).execute()


@contextmanager
def alone_in(run_folder: Path) -> Iterator[None]:
    """Keep every other run, and every other report, out of this folder meanwhile."""
    lock = FileLock(run_folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{run_folder}: another privagams run works in this folder; wait for it to end"
        ) from None
    try:
        yield
    finally:
        lock.release()


_ORDER = {"fit": 0, "audit": 2, "shadow": 3}


class _Run:
    def __init__(self, prepared: Prepared, journal: Journal, jobs: int) -> None:
        self.prepared, self.journal, self.jobs = prepared, journal, jobs
        self.failed: dict[str, tuple[str, int]] = {}
        self.started: dict[str, float] = {}
        self.overdue: set[str] = set()
        self.code = ExitCode.OK

    def execute(self) -> ExitCode:
        from privagams.beforehand import (
            refuse_members_without_images,
            refuse_missing_reference,
            refuse_two_searches,
            refuse_unprotected_learning,
            refuse_what_cannot_be_made,
        )
        from privagams.ledger.budget import refuse_beyond_budget
        from privagams.reporting import write_report
        from privagams.search_beforehand import refuse_search_by_several

        p, started = self.prepared, time.monotonic()
        self._describe()
        for text in warnings(p.pipeline):
            self.journal.say(f"warning: {text}", style="yellow")
        missing = p.plan.missing(p.store)
        refuse_search_by_several(p)
        refuse_two_searches(p)
        if missing:
            refuse_what_cannot_be_made(p.pipeline, p.registry)
            refuse_missing_reference(p)
        refuse_unprotected_learning(p)
        refuse_beyond_budget(p, missing)
        if missing:
            self.journal.say(f"{len(missing)} of {len(p.plan.stages)} stages to do, in {p.run_folder}")
        self._tile()
        refuse_members_without_images(p)
        self._stages()
        self._heed_selftest()
        if any(not p.store.has(s.verb, s.key) for s in p.plan.of("split")):
            return self.code  # nothing to report on, and what went wrong has been said
        changed, verdict = write_report(p, self.failed)
        self._close(bool(missing) or changed, started)
        return max(self.code, verdict) if verdict else self.code

    def _describe(self) -> None:
        folder = self.prepared.run_folder
        try:
            write_json(folder / "pipeline.resolved.json", self.prepared.pipeline.resolved)
            write_json(folder / "versions.json", versions(self.prepared.registry))
        except OSError as error:
            raise disk_error(error, folder) from error

    def _tile(self) -> None:
        """Tiling brings its own child processes, so it runs here."""
        from privagams.reading.tiling import tile_stage

        stage = self.prepared.plan.stages[0]
        if not self.prepared.store.has(stage.verb, stage.key):
            self.journal.start(stage.name)
            facts, reasons = tile_stage(
                stage,
                self.prepared,
                self.jobs,
                lambda done, total, note="": self.journal.progress(stage.name, done, total, note),
            )
            self.journal.end(stage.name)
            self.journal.say(
                f"{facts['tiles']} tiles or images of {facts['images']} files and {facts['patients']} patients; "
                f"{len(facts['skipped'])} files without tissue, {len(facts['failed'])} not readable"
            )
        else:
            facts, reasons = read_facts(self.prepared.store, stage), {}
        if facts["failed"]:
            self._name_failures(facts["failed"], reasons)

    def _name_failures(self, failed: Sequence[str], reasons: Mapping[str, str]) -> None:
        """Name failed files on the terminal and in a private table; nowhere else."""
        table = self.prepared.run_folder / "private" / "failed.csv"
        known = dict(csv.reader(table.read_text(encoding="utf-8").splitlines())) if table.is_file() else {}
        paths = {image.image: str(image.path) for image in self.prepared.images}
        rows = [
            (paths.get(image, "?"), reasons.get(image) or known.get(paths.get(image, "?"), "not readable"))
            for image in failed
        ]
        for path, reason in rows:
            self.journal.say(f"could not be read: {path}: {reason}", style="yellow")
        with open(table, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "reason"), *rows])
        self.code = ExitCode.PARTIAL

    def _stages(self) -> None:
        p = self.prepared
        waiting = {s.artifact: s for s in p.plan.stages[1:] if not p.store.has(s.verb, s.key)}
        # Searches run by themselves, after all that does not rest on them: what ran beside one, or was written down
        # after it, would tell how long it took.
        searches = {a: s for a, s in waiting.items() if s.searches}
        resting: dict[str, Stage] = {}
        for artifact, stage in waiting.items():
            if set(stage.inputs.values()) & (set(searches) | set(resting)):
                resting[artifact] = stage
        first = {a: s for a, s in waiting.items() if a not in searches and a not in resting}
        for part, jobs in ((first, self.jobs), (searches, 1), (resting, self.jobs)):
            self._work(part, jobs)

    def _work(self, waiting: dict[str, Stage], jobs: int) -> None:
        """Perform stages that rest on nothing but each other and what is done."""
        if not waiting:
            return
        pool = Pool(min(jobs, len(waiting)))
        try:
            running: dict[str, Stage] = {}
            while waiting or running:
                left = len(waiting)
                self._start_ready(pool, waiting, running)
                if not running:
                    if len(waiting) == left:
                        break
                    continue  # what rests on a stage that was skipped just now is still to be told why
                for message in pool.messages():
                    self._hear(message, running)
                self._stop_overdue(pool, running)
        finally:
            pool.close()

    def _start_ready(self, pool: Pool, waiting: dict[str, Stage], running: dict[str, Stage]) -> None:
        done = (
            {s.artifact for s in self.prepared.plan.stages} - set(waiting) - set(running) - set(self.failed)
        )
        # Long trainings first, so that they do not end up alone at the end; shadows once the others are on
        # their way, so that a first look at the release need not wait for them.
        for artifact, stage in sorted(waiting.items(), key=lambda item: _ORDER.get(item[1].verb, 1)):
            if not pool.idle:
                return
            if set(stage.inputs.values()) & set(self.failed):
                blocked = next(a for a in stage.inputs.values() if a in self.failed)
                self.failed[artifact] = self.failed[blocked]
                del waiting[artifact]
            elif stage.verb == "shadow" and self._waits_for_first(stage, running):
                continue
            elif stage.verb == "shadow" and (reason := self._too_long(stage)):
                self.failed[artifact] = (reason, int(ExitCode.OK))
                del waiting[artifact]
                self.journal.say(f"{stage.name}: skipped: {reason}", style="yellow")
            elif set(stage.inputs.values()) <= done:
                running[artifact] = waiting.pop(artifact)
                self.started[artifact] = time.monotonic()
                self.journal.start(stage.name, timed=not stage.searches)
                pool.submit((artifact, perform_in_child, (stage, self.prepared.context)))

    def _heed_selftest(self) -> None:
        """A self-test that failed is a fault of every run that rests on it, not only of the first."""
        for stage in self.prepared.plan.of("selftest"):
            if self.prepared.store.has(stage.verb, stage.key):
                facts = read_facts(self.prepared.store, stage)
                if facts["passed"] < facts["total"]:
                    self.journal.say(
                        "self-test: failed: attacks and judge are not to be trusted here; see privagams selftest",
                        style="red",
                    )
                    self.code = max(self.code, ExitCode.STAGE_FAILED, key=_weight)

    def _too_long(self, stage: Stage) -> str:
        """Why a shadow model is not trained: all of its release would take more hours than allowed. Else empty.

        Reckoned by what the release itself took, or after a search by what the first shadow took, for all that are
        left or none: a part of them would serve no attack.
        """
        p = self.prepared
        shadows = [s for s in p.plan.of("shadow", stage.release) if not p.store.has(s.verb, s.key)]
        if p.pipeline.audit.shadow_budget == 0:
            return "[audit] shadow_budget allows no shadow models; raise it to train them"
        took = self._took()
        each = seconds_of_one(p.plan, stage.release, took) or 0.0
        hours = each * len(shadows) / min(self.jobs, len(shadows)) / 3600
        allowed = p.pipeline.audit.shadow_budget
        begun = any(s.artifact in self.started for s in shadows)
        if hours <= allowed or begun:
            return ""
        return (
            f"{len(shadows)} shadow models of {stage.release} would take about {duration(hours * 3600)}, "
            f"[audit] shadow_budget allows {duration(allowed * 3600)}; raise it, or ask for fewer shadows"
        )

    def _waits_for_first(self, stage: Stage, running: Mapping[str, Stage]) -> bool:
        """Whether nothing says how long such a shadow takes until the one that is being trained is done."""
        beside = any(s.verb == "shadow" and s.release == stage.release for s in running.values())
        took = self._took() if beside else {}
        searched = any(s.searches for s in self.prepared.plan.of("fit", stage.release))
        return searched and beside and seconds_of_one(self.prepared.plan, stage.release, took) is None

    def _took(self) -> dict[str, float]:
        """Seconds by stage; those since a search began are known here and written down nowhere."""
        return past_seconds(self.prepared.run_folder / "events.jsonl") | self.journal.seconds

    def _stop_overdue(self, pool: Pool, running: Mapping[str, Stage]) -> None:
        """End attacks that have gone on for too long, so that the others are judged."""
        allowed = self.prepared.pipeline.audit.attack_minutes * 60
        for artifact, stage in running.items():
            if stage.verb == "attack" and time.monotonic() - self.started[artifact] > allowed:
                self.overdue.add(artifact)
                pool.stop(artifact)

    def _hear(self, message: Any, running: dict[str, Stage]) -> None:
        stage = running[message.task]
        if message.kind == "progress":
            self.journal.progress(stage.name, *message.payload)
            return
        del running[message.task]
        if message.kind == "done":
            self.journal.end(stage.name)
            for note in message.payload.get("notes", ()):
                self.journal.say(f"{stage.name}: {note}", style="yellow")
            return
        text, code = message.payload
        if message.task in self.overdue:
            minutes = self.prepared.pipeline.audit.attack_minutes
            text = f"it was stopped after {minutes:g} min; [audit] attack_minutes sets how long an attack may take"
        self.failed[message.task] = (text, code)
        self.journal.fail(stage.name, text)
        # A refusal or a configuration fault says more than "a stage failed".
        self.code = (
            ExitCode(code) if code in (2, 3, 4) else max(self.code, ExitCode.STAGE_FAILED, key=_weight)
        )

    def _close(self, worked: bool, started: float) -> None:
        report = self.prepared.run_folder / "report.html"
        took = duration(time.monotonic() - started)
        if not worked:
            current = " and the report is up to date" if report.is_file() else ""
            self.journal.say(f"Nothing to do: every stage is done{current}.")
        if report.is_file():
            told = worked and self.journal.tells_times
            self.journal.say(f"Report: {report}" + (f" (after {took})" if told else ""))
        for release in dict.fromkeys(s.release for s in self.prepared.plan.of("release")):
            self.journal.log("release", name=release)


def perform_in_child(stage: Stage, context: Context, progress: Any) -> dict[str, Any]:
    """Entry point of a worker process: finds the plugins anew and performs one stage."""
    return perform(stage, context, discover(context.pipeline.plugins.allow), progress)


def read_facts(store: Store, stage: Stage) -> dict[str, Any]:
    import json

    return json.loads((store.path(stage.verb, stage.key) / "facts.json").read_text())


def versions(registry: Registry) -> dict[str, Any]:
    """What took part: Python, platform, and every plugin with its components. No host name."""
    plugins: dict[str, Any] = {}
    for offer in registry.offers:
        entry = plugins.setdefault(offer.distribution, {"version": offer.version, "components": []})
        entry["components"].append(f"{offer.role}: {offer.component.name}")
    found = {"privagams": __version__, "python": platform.python_version(), "platform": platform.system()}
    for name in ("numpy", "torch", "opacus", "dp-accounting", "diffusers"):
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return {**found, "plugins": plugins}


def _weight(code: ExitCode) -> int:
    return {ExitCode.OK: 0, ExitCode.PARTIAL: 1, ExitCode.STAGE_FAILED: 2}.get(code, 3)


def default_jobs() -> int:
    return max(1, min(2, os.cpu_count() or 1))


def run_with_journal(prepared: Prepared, jobs: int) -> ExitCode:
    """Run, telling a terminal or a log file what happens."""
    from rich.console import Console

    try:
        journal = Journal(prepared.run_folder / "events.jsonl", Console(stderr=False))
    except OSError as error:
        raise disk_error(error, prepared.run_folder) from error
    with journal:
        try:
            return run(prepared, journal, jobs)
        except BaseException as error:
            if journal.searching:
                error.add_note(
                    f"{journal.searching} was searching: what it reserved stays paid for, and the search is lost; the "
                    "ledger says whether it had come so far."
                )
            journal.log("stopped", reason=type(error).__name__)
            raise
