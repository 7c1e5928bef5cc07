"""What people decided on the releases of a run, and when: `approvals.json` in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from privagams.store import write_json

_NAME = "approvals.json"


def approvals(run_folder: Path) -> dict[str, Any]:
    path = run_folder / _NAME
    return json.loads(path.read_text()) if path.is_file() else {}


def decision_on(run_folder: Path, release: str, artifact: str) -> dict[str, Any]:
    """The decision on exactly this artifact; one on an earlier state of the release does not count."""
    found = approvals(run_folder).get(release, {})
    return found if found.get("artifact") == artifact else {}


def add_approval(run_folder: Path, release: str, facts: dict[str, Any]) -> None:
    write_json(run_folder / _NAME, approvals(run_folder) | {release: facts})
