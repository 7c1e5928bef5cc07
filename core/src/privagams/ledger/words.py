"""`privagams ledger`: what was spent, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from privagams import home
from privagams.errors import ConfigError, ExitCode
from privagams.ledger.ledger import Ledger, Row

_DELTA = 1e-5


def show_ledgers(dataset: str | None, as_json: bool, delta: float = _DELTA) -> int:
    """Print each data set's entries and the worst-off patient's total at `delta`."""
    folders = [home.dataset_folder(dataset)] if dataset else _all_folders()
    if dataset and not folders[0].is_dir():
        raise ConfigError(f"{dataset}: no such data set under {home.home()}; known: "
                          f"{', '.join(f.name for f in _all_folders()) or 'none'}")  # fmt: skip
    console = Console()
    found = []
    for folder in folders:
        ledger = Ledger(folder)
        rows, total = ledger.summary(delta), ledger.total(delta)
        found.append({"dataset": folder.name, "total": total.to_json(), "delta": delta,
                      "entries": [{"time": r.time, "release": r.release, "text": r.text} for r in rows]})  # fmt: skip
        if not as_json:
            _print(console, folder.name, rows, total.epsilon, delta)
    if as_json:
        print(json.dumps(found, indent=1))
    elif not folders:
        console.print(f"No data set has a ledger under {home.home()}.", highlight=False)
    return int(ExitCode.OK)


def _print(console: Console, name: str, rows: Sequence[Row], epsilon: float, delta: float) -> None:
    console.print(f"Data set {name}", style="bold", highlight=False)
    if not rows:
        console.print("  nothing was ever spent", highlight=False)
        return
    table = Table("when", "release", "what", "ε alone", box=None, header_style="bold")
    for row in rows:
        cost = "" if row.epsilon is None else f"{row.epsilon:.2f}"
        table.add_row(row.time, row.release, row.text, cost)
    console.print(table)
    console.print(
        f"In all, the patient who lost most has lost ε = {epsilon:.2f} at δ = {delta:g}. Nothing is ever paid back.",
        highlight=False,
    )


def _all_folders() -> list[Path]:
    root = home.home()
    return sorted(p for p in root.iterdir() if (p / home.LEDGER_FILE).is_file()) if root.is_dir() else []
