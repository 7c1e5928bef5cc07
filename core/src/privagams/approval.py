"""Approve: the one way in which anything leaves. Purge: what a run need not keep."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from privagams.approval_file import add_approval, decision_on
from privagams.errors import BudgetError, ConfigError, StageError
from privagams.pipeline import ReleaseSettings
from privagams.store import disk_error, file_digest, write_json, write_text

if TYPE_CHECKING:
    from privagams.run import Prepared


def approve_release(prepared: Prepared, name: str, who: str, outbox: Path, unprotected: bool) -> Path:
    """Copy a release with claim, cards, licence and checksums to `outbox`, and record who approved which report.

    Refused (exit 4): a release that the gate refused, and a yardstick without `unprotected`, which is charged
    as ε = inf to every patient in it before anything is copied.
    """
    release = _find(prepared, name)
    report = prepared.run_folder / "report.html"
    if not report.is_file():
        raise StageError(f"{name}: there is no report of this run yet; run the pipeline and read it first")
    refused = json.loads((prepared.run_folder / "report.key").read_text())["refused"]
    if name in refused:
        raise BudgetError(
            f"{name}: the gate refused it: an attack reached more than the claim allows; see {report}"
        )
    if "refused_by" in decision_on(prepared.run_folder, name, _artifact(prepared, name)):
        raise BudgetError(
            f"{name}: it was refused, as the ledger says; a release that differs needs its own run"
        )
    if release.yardstick and not unprotected:
        raise BudgetError(
            f"{name}: a yardstick has no protection and never leaves by accident; "
            "to let it go all the same, charged as ε = inf, add --unprotected"
        )
    _check_intact(prepared, release)
    target = outbox / prepared.pipeline.name / name
    if target.exists():
        raise ConfigError(f"{target}: there already; move it away to approve again")
    _record(prepared, release, who, file_digest(report), unprotected)
    try:
        return _copy(prepared, release, target)
    except OSError as error:
        raise disk_error(error, outbox) from error


def refuse_release(prepared: Prepared, name: str, who: str) -> None:
    """Record that a person decided against a release; it can no longer be approved from this run."""
    from privagams.ledger.ledger import Ledger

    _find(prepared, name)
    report = prepared.run_folder / "report.html"
    if not report.is_file():
        raise StageError(f"{name}: there is no report of this run yet; run the pipeline and read it first")
    Ledger(prepared.home.folder).record_refusal(
        run=prepared.pipeline.name,
        release=name,
        who=who,
        report=file_digest(report),
        run_folder=prepared.run_folder,
    )
    add_approval(
        prepared.run_folder, name, {"refused_by": who, "when": _now(), "artifact": _artifact(prepared, name)}
    )


def _artifact(prepared: Prepared, name: str) -> str:
    return prepared.plan.of("release", name)[0].artifact


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def purge_run(run_folder: Path) -> int:
    """Remove artifacts and private tables; returns the bytes freed. Reports, log, heads and approvals stay."""
    freed = 0
    for folder in (run_folder / "artifacts", run_folder / "private"):
        freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None
    return freed


def _find(prepared: Prepared, name: str) -> ReleaseSettings:
    for release in prepared.pipeline.releases:
        if release.name == name:
            return release
    known = ", ".join(release.name for release in prepared.pipeline.releases)
    raise ConfigError(f"{name}: no such release in this pipeline; it has {known or 'none'}")


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


def _record(prepared: Prepared, release: ReleaseSettings, who: str, report: str, unprotected: bool) -> None:
    from privagams.ledger.ledger import Ledger
    from privagams.records_store import open_records
    from privagams.splits import MAIN, MEMBER, SplitTable

    ledger = Ledger(prepared.home.folder)
    if release.yardstick and unprotected:
        tile, split = prepared.plan.of("tile")[0], prepared.plan.of("split")[0]
        records = open_records(prepared.store.path("tile", tile.key), tile.artifact)
        table = SplitTable.load(prepared.store.path("split", split.key) / "split.parquet")
        members = records.take(table.where(MEMBER, MAIN)).patients.tolist()
        ledger.charge_unprotected(
            run=prepared.pipeline.name,
            release=release.name,
            patients=members,
            who=who,
            run_folder=prepared.run_folder,
        )
    ledger.record_approval(
        run=prepared.pipeline.name,
        release=release.name,
        who=who,
        report=report,
        run_folder=prepared.run_folder,
    )
    add_approval(
        prepared.run_folder,
        release.name,
        {"who": who, "when": _now(), "report_sha256": report, "artifact": _artifact(prepared, release.name)},
    )


def _copy(prepared: Prepared, release: ReleaseSettings, target: Path) -> Path:
    from PIL import Image

    from privagams.report.cards import data_card, model_card
    from privagams.reporting import build_report
    from privagams.stages import open_released

    partial = target.with_name(f".{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "images").mkdir(parents=True)
    stage = prepared.plan.of("release", release.name)[0]
    records = open_released(prepared.context, stage.artifact)
    labels = records.column("label")
    lines = ["file,label\n"]
    for chosen, pixels in records.batches(256):
        for offset, image in enumerate(pixels):
            number = chosen.start + offset
            name = f"{number:06d}.png"
            Image.fromarray(image.squeeze()).save(partial / "images" / name)
            lines.append(f"images/{name},{labels[number]}\n")
    write_text(partial / "images.csv", "".join(lines))
    if release.weights:
        fit = prepared.plan.of("fit", release.name)[0]
        shutil.copyfile(
            prepared.store.path("fit", fit.key) / "weights.safetensors", partial / "weights.safetensors"
        )
    report = build_report(prepared)
    found = next(r for r in report.releases if r.name == release.name)
    card = model_card if release.weights else data_card
    write_text(partial / ("MODEL_CARD.md" if release.weights else "DATA_CARD.md"),
               card(report, found, prepared.pipeline.report.licence))  # fmt: skip
    released = next(
        r
        for r in json.loads((prepared.run_folder / "report.json").read_text())["releases"]
        if r["name"] == release.name
    )
    write_json(
        partial / "claim.json",
        {"release": release.name, "claims": released["claims"], "total": released["total"]},
    )
    write_text(partial / "LICENCE.txt", prepared.pipeline.report.licence + "\n")
    sums = [
        f"{file_digest(p)}  {p.relative_to(partial)}\n" for p in sorted(partial.rglob("*")) if p.is_file()
    ]
    write_text(partial / "SHA256SUMS", "".join(sums))
    os.replace(partial, target)
    return target
