"""Approve or refuse: a person's decision on exactly what the report she read is about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from privagams.decisions import Decision, add_decision, decision_on, written_at
from privagams.errors import BudgetError, ConfigError, StageError
from privagams.ledger.ledger import Ledger
from privagams.pipeline import ReleaseSettings
from privagams.store import file_digest

if TYPE_CHECKING:
    from privagams.run import Prepared


def approve_release(prepared: Prepared, name: str, who: str, outbox: Path, unprotected: bool) -> Path:
    """Copy a release with claim, cards, licence and checksums to `outbox`, and record who approved which report.

    Refused (exit 4): what the gate or a person has refused, and a yardstick without `unprotected`, which is
    charged as ε = inf to every patient in it before anything is copied. Refused (exit 1): a release other than
    the one the report on disk is about, one that no attack has tested, and files changed since they were made.
    """
    from privagams.beforehand import refuse_unprotected_learning
    from privagams.outbox import copy_out

    refuse_unprotected_learning(prepared)
    release = _find(prepared, name)
    artifact, report = _reported(prepared, name)
    for decided in (artifact, *(fit.artifact for fit in prepared.plan.of("fit", name))):
        earlier = decision_on(prepared.run_folder, decided)
        if earlier is not None and earlier.decision == "refused":
            raise BudgetError(
                f"{name}: {earlier.who} refused it on {earlier.when}; a release that differs needs its own run"
            )
    if release.yardstick and not unprotected:
        raise BudgetError(
            f"{name}: a yardstick has no protection and never leaves by accident; "
            "to let it go all the same, charged as ε = inf, add --unprotected"
        )
    _check_tested(prepared, release)
    _check_intact(prepared, release)
    target = outbox / prepared.pipeline.name / name
    if target.exists():
        raise ConfigError(f"{target}: there already; move it away to approve again")
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    for patients in _unprotected(prepared, release):
        ledger.charge_unprotected(
            run=prepared.pipeline.name,
            release=name,
            patients=patients,
            who=who,
            run_folder=prepared.run_folder,
        )
    ledger.record_approval(
        run=prepared.pipeline.name, release=name, who=who, report=report, run_folder=prepared.run_folder
    )
    add_decision(prepared.run_folder, _decision(prepared, name, artifact, "approved", who, report))
    return copy_out(prepared, release, target)


def refuse_release(prepared: Prepared, name: str, who: str) -> None:
    """Record that a person, or the gate, decided against a release: exactly this artifact never leaves."""
    _find(prepared, name)
    record_refusal(prepared, name, who, *_reported(prepared, name))


def record_refusal(prepared: Prepared, name: str, who: str, artifact: str, report: str) -> None:
    """Write a refusal into the ledger and the run folder, once for an artifact."""
    earlier = decision_on(prepared.run_folder, artifact)
    if earlier is not None and earlier.decision == "refused":
        return
    Ledger(prepared.home.folder).record_refusal(
        run=prepared.pipeline.name, release=name, who=who, report=report, run_folder=prepared.run_folder
    )
    add_decision(prepared.run_folder, _decision(prepared, name, artifact, "refused", who, report))


def purge_run(run_folder: Path) -> int:
    """Remove artifacts and private tables; returns the bytes freed. Reports, log, heads and decisions stay."""
    freed = 0
    for folder in (run_folder / "artifacts", run_folder / "private"):
        freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if folder.exists():
            shutil.rmtree(folder)
    return freed


def _find(prepared: Prepared, name: str) -> ReleaseSettings:
    for release in prepared.pipeline.releases:
        if release.name == name:
            return release
    known = ", ".join(release.name for release in prepared.pipeline.releases)
    raise ConfigError(f"{name}: no such release in this pipeline; it has {known or 'none'}")


def _reported(prepared: Prepared, name: str) -> tuple[str, str]:
    """The release's artifact and the report's digest, once both are what the last report was written about."""
    from privagams.reporting import judged_state

    page, mark = prepared.run_folder / "report.html", prepared.run_folder / "report.key"
    if not page.is_file() or not mark.is_file():
        raise StageError(f"{name}: there is no report of this run yet; run the pipeline and read it first")
    state, artifact = json.loads(mark.read_text()), prepared.plan.of("release", name)[0].artifact
    report = file_digest(page)
    about_this = state["artifacts"].get(name) == artifact and state["judged"] == judged_state(prepared)
    if not about_this or state["report"] != report:
        raise StageError(
            f"{name}: the report in {prepared.run_folder} is about another state of it, or was changed; "
            "run the pipeline with the same settings (--set too), read the new report, then decide"
        )
    return artifact, report


def _check_tested(prepared: Prepared, release: ReleaseSettings) -> None:
    """Refuse what was not tested as planned, or by nothing that gave a figure, or by what fails its own test."""
    tests = [s for s in prepared.plan.stages if s.verb in ("attack", "audit") and s.release == release.name]
    for stage in (*tests, *prepared.plan.of("selftest")):
        if not prepared.store.has(stage.verb, stage.key):
            raise StageError(
                f"{release.name}: {stage.name} is not done, so the release is not tested as planned; "
                "run the pipeline again, or take the attack or audit out of it"
            )
    for stage in prepared.plan.of("selftest"):
        facts = json.loads((prepared.store.path(stage.verb, stage.key) / "facts.json").read_text())
        if facts["passed"] < facts["total"]:
            raise StageError(
                f"{release.name}: the self-test failed, so attacks and judge are not to be trusted here; "
                "`privagams selftest` says which answers are wrong"
            )
    state = json.loads((prepared.run_folder / "report.key").read_text())
    if not state["tested"].get(release.name):
        raise StageError(
            f"{release.name}: no attack gave a figure on it, so nobody has tested it; add [[attacks]] that apply, "
            "run, and read the report"
        )


def _check_intact(prepared: Prepared, release: ReleaseSettings) -> None:
    for stage in prepared.plan.stages:
        if stage.release == release.name and stage.verb in ("fit", "release"):
            if not prepared.store.has(stage.verb, stage.key):
                raise StageError(f"{release.name}: {stage.name} is not done; run the pipeline first")
            if damaged := prepared.store.damaged(stage.verb, stage.key):
                raise StageError(
                    f"{release.name}: {', '.join(damaged)} of {stage.name} changed after it was made; "
                    f"remove {prepared.store.path(stage.verb, stage.key)} and run again"
                )


def _unprotected(prepared: Prepared, release: ReleaseSettings) -> list[list[str]]:
    """Sets of patients to whom the release costs everything: of a yardstick, and of reference phases."""
    from privagams.records_store import open_records
    from privagams.splits import MAIN, MEMBER, REFERENCE, SplitTable

    roles = [MEMBER] if release.yardstick else []
    if uses_reference(prepared, release):
        roles.append(REFERENCE)
    tile, split = prepared.plan.of("tile")[0], prepared.plan.of("split")[0]
    records = open_records(prepared.store.path("tile", tile.key), tile.artifact)
    table = SplitTable.load(prepared.store.path("split", split.key) / "split.parquet")
    return [records.take(table.where(role, MAIN)).patients.tolist() for role in roles]


def uses_reference(prepared: Prepared, release: ReleaseSettings) -> bool:
    """Whether the release's training saw reference patients, who have no protection in it."""
    for stage in prepared.plan.of("fit", release.name):
        facts = json.loads((prepared.store.path("fit", stage.key) / "facts.json").read_text())
        return bool(facts["reference"])
    return False


def _decision(
    prepared: Prepared,
    name: str,
    artifact: str,
    decision: Literal["approved", "refused"],
    who: str,
    report: str,
) -> Decision:
    return Decision(name, artifact, decision, who, written_at(prepared.pipeline), report)
