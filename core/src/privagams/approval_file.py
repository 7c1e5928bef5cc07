"""Which releases of a run were approved, by whom and when: `approvals.json` in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from privagams.store import write_json

_NAME = "approvals.json"


def approvals(run_folder: Path) -> dict[str, Any]:
    path = run_folder / _NAME
    return json.loads(path.read_text()) if path.is_file() else {}


def add_approval(run_folder: Path, release: str, facts: dict[str, Any]) -> None:
    write_json(run_folder / _NAME, approvals(run_folder) | {release: facts})
