"""The only way to touch a ledger: under its lock, verified, for at most one append."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from privagams import home
from privagams.errors import LedgerError
from privagams.ledger.books import API, Books, patients_digest, read_books
from privagams.ledger.chain import Chain, append_records, locked, read_chain
from privagams.ledger.heads import known_heads, remember, require_extension
from privagams.ledger.search_event import holds_search

_PSEUDONYM = re.compile(rf"[0-9a-f]{{{home.PSEUDONYM_DIGITS}}}")


@contextmanager
def session(folder: Path, run_folder: Path | None = None) -> Iterator[Session]:
    """Lock and verify the ledger in a data set's folder."""
    path = folder / home.LEDGER_FILE
    with locked(folder):
        chain = read_chain(path)
        require_extension(chain, known_heads(folder, run_folder), path)
        books = read_books(chain.records, str(path)) if chain.records else None
        if books is not None:
            _require_own(books, folder)
        yield Session(folder, run_folder, chain, books)


@frozen(eq=False)
class Session:
    """The ledger while its lock is held: verified, and good for one append."""

    folder: Path
    run_folder: Path | None
    chain: Chain
    books: Books | None
    """None while nothing was ever recorded."""

    def append(self, record: Mapping[str, Any], patients: Set[str] = frozenset()) -> tuple[int, str]:
        """Write `record` after what it needs; on disk, heads included, when this returns.

        Returns the record's number and time: once there has been a search the day alone.

        Guarantee: no record bounds how long a search took to less than days, of whichever run it is
        (test_from_a_search_on_the_ledger_holds_days).
        """
        moment = datetime.now(UTC)
        blocks = self.books.blocks if self.books else ()
        costs = [*(block.cost for block in blocks), record.get("event", {})]
        searched = any(holds_search(cost) for cost in costs if cost)
        now = moment.strftime("%Y-%m-%d") if searched else moment.isoformat(timespec="seconds")
        stamped = [{**entry, "time": now} for entry in (*self._preface(patients), record)]
        head = append_records(self.folder / home.LEDGER_FILE, self.chain, stamped)
        remember(self.folder, self.run_folder, head)
        return head.seq, now

    def _preface(self, patients: Set[str]) -> Iterator[Mapping[str, Any]]:
        if self.books is None:
            fingerprint = home.fingerprint(home.key(self.folder))
            yield {"kind": "open", "api": API, "dataset": self.folder.name, "key": fingerprint}
        if self.chain.torn:
            yield {"kind": "repair", "bytes": self.chain.torn}
        digest = patients_digest(patients)
        if patients and (self.books is None or digest not in self.books.patients):
            yield {"kind": "patients", "digest": digest, "patients": sorted(patients)}


def pseudonyms(patients: Iterable[str]) -> frozenset[str]:
    """Check and collect patients.

    Guarantee: no plain name of a patient gets into a ledger (`test_plain_names_of_patients_are_refused`).
    """
    names = frozenset(str(patient) for patient in patients)
    if not names:
        raise LedgerError(
            "ledger: expected at least one patient to charge, found none; name all that take part"
        )
    if not all(_PSEUDONYM.fullmatch(name) for name in names):
        raise LedgerError(
            f"ledger: expected patients by keyed pseudonyms of {home.PSEUDONYM_DIGITS} hex digits, found "
            "other text; make them with privagams.home.pseudonym"
        )
    return names


def _require_own(books: Books, folder: Path) -> None:
    if books.dataset != folder.name:
        raise LedgerError(
            f"{folder}: expected the ledger of data set {folder.name!r}, found that of {books.dataset!r}; "
            "put it back under its own name"
        )
    if books.key != home.fingerprint(home.key(folder)):
        raise LedgerError(
            f"{folder / 'key'}: expected the key with which this ledger was begun, found another one, by "
            "which its patients cannot be recognised; restore it from a backup"
        )
