"""The account of all privacy spent on one data set: paid for before it ran, and never paid back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from privagams import home
from privagams.ledger.account import Account
from privagams.ledger.accounting import Claim
from privagams.ledger.books import Block, Books, Charge, patients_digest
from privagams.ledger.chain import Head, read_chain
from privagams.ledger.events import SearchCost, is_local, spending, spending_of_json
from privagams.ledger.heads import known_heads, require_extension
from privagams.ledger.prices import Budget, Prices
from privagams.ledger.session import pseudonyms, session

if TYPE_CHECKING:
    from dp_accounting import DpEvent

__all__ = ["Account", "Block", "Budget", "Head", "Ledger", "Row"]


@frozen
class Row:
    """One line of `privagams ledger`."""

    time: str
    release: str
    text: str
    epsilon: float | None = None
    """What it cost by itself; None for what costs nothing."""


class Ledger:
    """The ledger in one data set's folder; see `home.dataset_folder`.

    Guarantee: no noisy step runs that is not on disk here first, and what the ledger says was spent never
    falls, whatever is killed, torn, edited or put back (`tests/ledger`). One case cannot be detected: whoever
    puts back this folder and every run folder, all from one earlier moment, leaves nothing that remembers
    more.
    """

    def __init__(self, folder: Path, prices: Prices | None = None, run_folder: Path | None = None) -> None:
        """`run_folder`: one whose remembered head every reading must find in the ledger."""
        self.folder, self._run_folder = folder, run_folder
        self.path = folder / home.LEDGER_FILE
        self._prices = prices or Prices()

    def account(
        self,
        *,
        run: str,
        release: str,
        fit: str,
        patients: Sequence[str],
        budget: Budget | None,
        run_folder: Path,
    ) -> Account:
        """Open the account of one fit. `patients`: pseudonyms of all whose images it may touch."""
        return Account(
            self.folder, run, release, fit, pseudonyms(patients), budget, run_folder, prices=self._prices
        )

    def books(self, run_folder: Path | None = None) -> Books | None:
        """Read and verify everything; None where nothing was ever recorded. Creates nothing in that case."""
        run_folder = run_folder or self._run_folder
        if not self.folder.is_dir():
            require_extension(read_chain(self.path), known_heads(self.folder, run_folder), self.path)
            return None
        with session(self.folder, run_folder) as ledger:
            return ledger.books

    @property
    def head(self) -> Head:
        """How far the ledger has grown, verified."""
        self.books()
        return read_chain(self.path).head

    def spent(self, fit: str | None = None) -> list[DpEvent]:
        """All blocks ever reserved (of one fit), closed or not."""
        books = self.books()
        blocks = books.blocks if books else ()
        return [block.event for block in blocks if fit is None or block.fit == fit]

    def total(
        self, delta: float, among: Sequence[str] | None = None, without_run: str | None = None
    ) -> Claim:
        """What the worst-off patient (in `among`) has lost by all releases (but those of one run)."""
        return self.would_total([], delta, among, without_run)

    def would_total(
        self,
        new: Sequence[tuple[Sequence[str], Sequence[DpEvent]]],
        delta: float,
        among: Sequence[str] | None = None,
        without_run: str | None = None,
    ) -> Claim:
        """`total` as it would be once each of `new`, (patients, events), were spent as well."""
        books = self.books()
        charges: list[Charge] = []
        if books:
            charges = books.charges({block.seq for block in books.blocks if block.run == without_run})
        charges += [(pseudonyms(patients), spending(events)) for patients, events in new]
        return self._prices.claim(
            charges, delta, None if among is None else pseudonyms(among),
            protects="everything that one patient adds to all releases of this data set",
        )  # fmt: skip

    def claim_of(
        self,
        fits: Collection[str],
        delta: float,
        *,
        protects: str,
        per_element_epsilon: float | None = None,
    ) -> Claim | None:
        """What the worst-off patient has lost by these fits (keys) together; None where nothing was spent.

        Blocks of different patients do not add up: a release of randomised copies pays for its patients in
        batches.
        """
        books = self.books()
        blocks = books.blocks if books else ()
        if books is None or not any(block.fit in fits for block in blocks):
            return None
        charges = books.charges({block.seq for block in blocks if block.fit not in fits})
        return self._prices.claim(charges, delta, protects=protects, per_element_epsilon=per_element_epsilon)

    def charge_unprotected(
        self, *, run: str, release: str, patients: Sequence[str], who: str, run_folder: Path | None
    ) -> None:
        """Record that `release` left without protection: its patients have lost everything, ε = inf."""
        everyone = pseudonyms(patients)
        record = {
            "kind": "reserve", "run": run, "release": release, "fit": "", "who": who,
            "patients": patients_digest(everyone), "event": {"type": "non-private"}, "steps": 1,
        }  # fmt: skip
        with session(self.folder, run_folder) as ledger:
            ledger.append(record, everyone)

    def record_approval(
        self, *, run: str, release: str, who: str, report: str, run_folder: Path | None
    ) -> None:
        """Record that `who` approved `release` upon the report with digest `report`."""
        note = {"kind": "approve", "run": run, "release": release, "who": who, "report": report}
        with session(self.folder, run_folder) as ledger:
            ledger.append(note)

    def record_refusal(
        self, *, run: str, release: str, who: str, report: str, run_folder: Path | None
    ) -> None:
        """Record that `who`, a person or "gate", refused `release`: one bit, not in a claim."""
        note = {"kind": "refuse", "run": run, "release": release, "who": who, "report": report}
        with session(self.folder, run_folder) as ledger:
            ledger.append(note)

    def summary(self, delta: float) -> list[Row]:
        """Say in words what was spent, approved and refused, in the order in which it began."""
        books = self.books()
        if books is None:
            return []
        fits: dict[tuple[str, str, str], list[Block]] = {}
        for block in books.blocks:
            fits.setdefault((block.run, block.release, block.fit), []).append(block)
        rows = [self._row(books, blocks, delta) for blocks in fits.values()]
        rows += [Row(note["time"], note.get("release", ""), _in_words(note)) for note in books.notes]
        # Days without an hour come from a search on, so after all hours of the same day.
        return sorted(rows, key=lambda row: row.time.ljust(11, "~"))

    def _row(self, books: Books, blocks: Sequence[Block], delta: float) -> Row:
        first = blocks[0]
        images: Counter[str] = Counter()
        for block in blocks:
            images.update(dict.fromkeys(books.patients[block.patients], block.steps))
        source = f"run {first.run!r}, {len(images)} patients"
        others = {block.seq for block in books.blocks} - {block.seq for block in blocks}
        epsilon = self._prices.worst(books.charges(without=others), delta).epsilon
        if not first.fit:
            return Row(first.time, first.release, f"left without protection ({source})", epsilon)
        steps = f"noisy steps: {sum(block.steps for block in blocks)}"
        if all(is_local(spending_of_json([block.cost])) for block in blocks):
            steps = f"images randomised: {max(images.values())} of each patient"
        if any(isinstance(cost, SearchCost) for block in blocks for cost in spending_of_json([block.cost])):
            # Their blocks are never closed: when would tell how long they took.
            text = f"searches over trainings, each paid for as a whole: {len(blocks)} ({source})"
            return Row(first.time, first.release, text, epsilon)
        lost = sum(block.checkpoint is None for block in blocks)
        text = f"{steps}, in blocks: {len(blocks)} ({source})"
        if lost:
            text += f"; {lost} of the blocks not closed, counted in full"
        return Row(first.time, first.release, text, epsilon)


def _in_words(note: Mapping[str, Any]) -> str:
    if note["kind"] == "repair":
        return f"an unfinished line of {note['bytes']} bytes was removed after a crash"
    verb = "approved" if note["kind"] == "approve" else "refused"
    return f"{verb} by {note['who']} upon report {note['report'][:12]} (run {note['run']!r})"
