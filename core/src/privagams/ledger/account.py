"""What one fit spends: each block paid for, within the budget, before it runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from privagams.errors import BudgetError, LedgerError
from privagams.home import LEDGER_FILE
from privagams.ledger.books import Block, Books, Charge, patients_digest
from privagams.ledger.chain import Head
from privagams.ledger.events import Expense, event_to_json, spending
from privagams.ledger.heads import require_extension
from privagams.ledger.prices import Budget, Prices
from privagams.ledger.session import session

if TYPE_CHECKING:
    from dp_accounting import DpEvent


@frozen(eq=False)
class Account:
    """The account of one fit in a data set's ledger. Training reserves a block, runs it, and closes it."""

    folder: Path
    """The data set's, where the ledger lies."""
    run: str
    release: str
    fit: str
    """Key of the fit: the same after a crash, so that what it spent before is found again."""
    patients: frozenset[str]
    budget: Budget | None
    run_folder: Path
    _prices: Prices = field(alias="prices")
    _plan: Counter[Expense] = field(factory=Counter, init=False)
    _reserved: dict[int, Counter[Expense]] = field(factory=dict, init=False)
    """Blocks paid for since the plan was made, by number."""

    def blocks(self) -> list[Block]:
        """All blocks of this fit ever reserved, oldest first, closed or not."""
        with session(self.folder, self.run_folder) as ledger:
            return [block for block in ledger.books.blocks if block.fit == self.fit] if ledger.books else []

    def spent(self) -> list[DpEvent]:
        """What this fit has cost so far: every block, whether it was run, closed, or lost in a crash."""
        return [block.event for block in self.blocks()]

    def plan(self, event: DpEvent) -> None:
        """Check that the budget allows all that is still to come; raises `BudgetError` before anything ran.

        Nothing is recorded. Blocks that are then reserved within the plan are priced as the whole, once, so
        that a fit which has begun is not stopped by its own last block.
        """
        self._plan.clear()
        self._reserved.clear()
        self._plan.update(spending([event]))
        with session(self.folder, self.run_folder) as ledger:
            self._require_budget(ledger.books, Counter())

    def reserve(self, event: DpEvent, steps: int) -> Block:
        """Pay for the next `steps` noisy steps, which together cost `event`; run them once this returns.

        For images randomised on their own: `event` is what one patient pays, `steps` how many of a patient's
        images it is for.

        Guarantee: before this returns the block is on disk, and was within the budget for every one of its
        patients (`test_a_killed_child_never_ran_more_than_the_ledger_shows`,
        `test_processes_that_reserve_at_once_stay_within_the_budget`).
        """
        if steps < 1:
            raise ValueError(f"expected at least 1 step, found {steps}")
        cost, digest = event_to_json(event), patients_digest(self.patients)
        record = {
            "kind": "reserve", "run": self.run, "release": self.release, "fit": self.fit,
            "patients": digest, "event": cost, "steps": steps,
        }  # fmt: skip
        with session(self.folder, self.run_folder) as ledger:
            self._require_budget(ledger.books, spending([event]))
            seq, time = ledger.append(record, self.patients)
        self._reserved[seq] = spending([event])
        return Block(seq, self.run, self.release, self.fit, digest, cost, steps, time)

    def close(self, block: Block, checkpoint: str) -> Head:
        """Record that the block ran and left the file with digest `checkpoint`; nothing is paid back."""
        with session(self.folder, self.run_folder) as ledger:
            blocks = ledger.books.blocks if ledger.books else ()
            found = {known.seq: known for known in blocks if known.fit == self.fit}.get(block.seq)
            if found is None or found.checkpoint is not None:
                raise LedgerError(
                    f"{self.folder / LEDGER_FILE}: expected an open block of fit {self.fit!r} at record "
                    f"{block.seq}, found {'none' if found is None else 'a closed one'}; run again: training "
                    "goes on from the last checkpoint"
                )
            ledger.append({"kind": "close", "block": block.seq, "checkpoint": checkpoint})
        return self.head

    @property
    def head(self) -> Head:
        """How far the ledger has grown: a checkpoint keeps it, and `check` compares."""
        with session(self.folder, self.run_folder) as ledger:
            return ledger.chain.head

    def check(self, head: Head, where: Path | None = None) -> None:
        """Raise `LedgerError` unless the ledger continues `head`, which the file at `where` holds."""
        with session(self.folder, self.run_folder) as ledger:
            path = where or self.run_folder / "checkpoint"
            require_extension(ledger.chain, {path: head}, self.folder / LEDGER_FILE)

    def _require_budget(self, books: Books | None, new: Counter[Expense]) -> None:
        """Price the worst-off of this fit's patients, open blocks in full, the plan as if spent."""
        if self.budget is None:
            return
        reserved = sum(self._reserved.values(), Counter[Expense]()) + new
        needed = self._plan if reserved <= self._plan else reserved
        before = books.charges(without=self._reserved) if books else []
        after: list[Charge] = [*before, (self.patients, needed)]
        delta = self.budget.delta
        worst = self._prices.worst(after, delta, self.patients).epsilon
        if worst <= self.budget.epsilon:
            return
        already = self._prices.worst(before, delta, self.patients).epsilon
        raise BudgetError(
            f"budget: at most ε = {self.budget.epsilon:g} at δ = {delta:g} for a patient of data set "
            f"{self.folder.name!r}, of which ε = {already:.4g} is spent; release {self.release!r} would "
            f"take it to ε = {worst:.4g}; lower its ε, or have the budget raised by whoever answers for it"
        )
