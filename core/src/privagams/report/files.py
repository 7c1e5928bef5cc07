"""Where reports are written: four files beside each other, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from privagams.report.data import Report
from privagams.report.interface import as_json
from privagams.report.pages import public_page, steward_page
from privagams.report.public import for_public


def write_report(report: Report, folder: Path, include_figures_from_members: bool = False) -> dict[str, Path]:
    """Write report.html, report.json, public.html and public.json; equal reports give equal bytes."""
    texts = {
        "report.html": steward_page(report),
        "report.json": as_json(report),
        "public.html": public_page(report, include_figures_from_members),
        "public.json": as_json(for_public(report, include_figures_from_members)),
    }
    return {name: _write(folder / name, text) for name, text in texts.items()}


def _write(path: Path, text: str) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
