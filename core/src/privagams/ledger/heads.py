"""Where a ledger's heads are remembered outside it, so that one that was put back is noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from privagams.errors import LedgerError
from privagams.ledger.chain import Chain, Head, write_durably

HEAD_FILE = "ledger-head.json"
_RUNS_FILE = "runs.json"


def require_extension(chain: Chain, heads: Mapping[Path, Head], ledger: Path) -> None:
    """Raise `LedgerError` unless the chain holds everything that any known head has seen.

    Guarantee: an older ledger put back, a shortened one and a missing one are refused, and never taken for
    one on which less was spent (`test_an_old_ledger_put_back_is_refused`).
    """
    for path, head in heads.items():
        if chain.extends(head):
            continue
        found = f"{chain.head.seq} records" if chain.records else "no records"
        missing = (
            "in which a record was replaced" if head.seq <= chain.head.seq else "which is an older state"
        )
        raise LedgerError(
            f"{ledger}: expected a ledger that continues record {head.seq} ({head.hash[:12]}…), as {path} "
            f"remembers it, found {found}, {missing}; restore the newest ledger (only if that run folder "
            "comes from another installation: move it away)"
        )


def known_heads(dataset_folder: Path, run_folder: Path | None) -> dict[Path, Head]:
    """Heads of this data set: the one beside the ledger, and those of all run folders that can be found."""
    found = {}
    for folder in {dataset_folder, *_run_folders(dataset_folder, run_folder)}:
        path = folder / HEAD_FILE
        head = _read(path).get(dataset_folder.name)
        if head is not None:
            found[path] = head
    return found


def remember(dataset_folder: Path, run_folder: Path | None, head: Head) -> None:
    """Write `head` beside the ledger and into the run folder; it is on disk when this returns."""
    for folder in (dataset_folder, run_folder):
        if folder is None:
            continue
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        heads = {name: str(known) for name, known in _read(folder / HEAD_FILE).items()}
        heads[dataset_folder.name] = str(head)
        write_durably(folder / HEAD_FILE, json.dumps({"heads": heads}, indent=1, sort_keys=True) + "\n")
    if run_folder is not None:
        _list_run(dataset_folder, run_folder.resolve())


def _run_folders(dataset_folder: Path, run_folder: Path | None) -> Iterator[Path]:
    yield from _listed_runs(dataset_folder)
    if run_folder is not None:
        run_folder = run_folder.resolve()
        yield run_folder
        if run_folder.parent.is_dir():
            yield from (path for path in run_folder.parent.iterdir() if path.is_dir())


def _listed_runs(dataset_folder: Path) -> Iterable[Path]:
    path = dataset_folder / _RUNS_FILE
    if not path.exists():
        return []
    try:
        return [Path(entry) for entry in json.loads(path.read_text())["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path}: expected a list of run folders, found something else; {_ADVICE}"
        ) from error


def _list_run(dataset_folder: Path, run_folder: Path) -> None:
    listed = list(_listed_runs(dataset_folder))
    if run_folder not in listed:
        runs = [str(path) for path in [*listed, run_folder]]
        write_durably(dataset_folder / _RUNS_FILE, json.dumps({"runs": runs}, indent=1) + "\n")


def _read(path: Path) -> dict[str, Head]:
    if not os.path.exists(path):  # False, too, for a folder that belongs to somebody else
        return {}
    try:
        return {name: Head.parse(text) for name, text in json.loads(path.read_text())["heads"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{path}: expected the ledger's head, found a damaged file; {_ADVICE}") from error


_ADVICE = "restore it from a backup, or remove it once a person has made sure that the ledger is the newest"
