"""When a report is written, and what exactly it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import asdict

from privagams.approval import record_refusal
from privagams.assembly import Assembly
from privagams.decisions import decisions
from privagams.errors import ExitCode
from privagams.ledger.ledger import Ledger
from privagams.report import data
from privagams.report.files import write_report as write_pages
from privagams.store import digest, file_digest, write_text

if TYPE_CHECKING:
    from privagams.run import Prepared

FILES = ("report.html", "report.json", "public.html", "public.json")


def write_report(
    prepared: Prepared, failed: Mapping[str, tuple[str, int]], anew: bool = False
) -> tuple[bool, ExitCode]:
    """Write the four report files where anything they rest on has changed.

    Returns whether they were written, and REFUSED when the gate refused a release.
    """
    if not prepared.pipeline.releases:
        return False, ExitCode.OK
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    mark = prepared.run_folder / "report.key"
    state = json.loads(mark.read_text()) if mark.is_file() else {}
    fresh = state.get("key") == _freshness(prepared, failed, ledger)
    if not anew and fresh and all((prepared.run_folder / name).is_file() for name in FILES):
        return False, ExitCode(state["verdict"])
    made = Assembly(prepared, failed, ledger).report()
    write_pages(made.report, prepared.run_folder, prepared.pipeline.report.public_figures)
    page = file_digest(prepared.run_folder / "report.html")
    artifacts = {r.name: prepared.plan.of("release", r.name)[0].artifact for r in made.report.releases}
    for release in sorted(made.refused):
        record_refusal(prepared, release, "the gate", artifacts[release], page)
        # The same training under another number of images is the same leak. A flow that saw no member is none, and
        # other copies share it.
        for fit in prepared.plan.of("fit", release):
            if fit.settings["mechanism"] is not None or not _randomised(prepared, release):
                record_refusal(prepared, release, "the gate", fit.artifact, page)
    verdict = ExitCode.REFUSED if made.refused else ExitCode.OK
    # Taken now: a refusal has just moved the ledger's head.
    state = {
        "key": _freshness(prepared, failed, ledger), "judged": judged_state(prepared), "verdict": int(verdict),
        "report": page, "artifacts": artifacts, "tested": {r.name: _tested(r) for r in made.report.releases},
    }  # fmt: skip
    write_text(mark, json.dumps(state))
    return True, verdict


def _randomised(prepared: Prepared, name: str) -> bool:
    return any(release.randomised for release in prepared.pipeline.releases if release.name == name)


def judged_state(prepared: Prepared) -> str:
    """Digest of what was there to be judged, and by which settings: approving needs it to be as reported.

    Guarantee: a stage that was done since, or settings that leave one out, make the report one about another state
    (test_a_report_of_an_unfinished_run_is_not_the_last_word).
    """
    done = [[s.artifact, prepared.store.has(s.verb, s.key)] for s in prepared.plan.stages]
    return digest([done, prepared.pipeline.resolved])


def _tested(release: data.Release) -> int:
    """How many attacks gave figures on a release."""
    return sum(bool(attack.measurements) and attack.private for attack in release.attacks)


def _freshness(prepared: Prepared, failed: Mapping[str, Any], ledger: Ledger) -> str:
    """Digest of everything a report rests on."""
    decided = [asdict(decision) for decision in decisions(prepared.run_folder)]
    return digest([judged_state(prepared), sorted(failed), str(ledger.head), decided])


def build_report(prepared: Prepared) -> data.Report:
    """The report as it stands now, not written anywhere."""
    return (
        Assembly(prepared, {}, Ledger(prepared.home.folder, run_folder=prepared.run_folder)).report().report
    )
