"""What a ledger's records mean: which patients have spent what."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from privagams.errors import LedgerError
from privagams.ledger.events import (
    EventError,
    Expense,
    LocalGaussianCost,
    NoisySumCost,
    PureCost,
    SearchCost,
    Spending,
    event_from_json,
    spending_of_json,
)

if TYPE_CHECKING:
    from dp_accounting import DpEvent

API = 1
Charge = tuple[Set[str], Spending]
"""Patients, and what each of them has spent or would spend."""


@frozen(eq=False)
class Block:
    """A stretch of noisy steps, or of images to randomise, paid for before it ran; paid in full, run or not."""

    seq: int
    """Number of its record."""
    run: str
    release: str
    fit: str
    """Key of the fit that it is part of; empty for a release that left without protection."""
    patients: str
    """Digest of the set of patients whose images it could touch."""
    cost: Mapping[str, Any]
    steps: int
    """How many noisy steps; or of each patient how many images, where these are randomised on their own."""
    time: str
    checkpoint: str | None = None
    """Digest of the file that closed it; None while it is open."""

    @property
    def event(self) -> DpEvent:
        return event_from_json(self.cost)


@frozen(eq=False)
class Books:
    """A ledger's records, read."""

    dataset: str
    key: str
    """Fingerprint of the key behind the pseudonyms."""
    patients: Mapping[str, frozenset[str]]
    """Sets of patients by digest."""
    blocks: Sequence[Block]
    notes: Sequence[Mapping[str, Any]]
    """Approvals, refusals and repairs, which cost nothing."""

    def charges(self, without: Collection[int] = ()) -> list[Charge]:
        """Sum the blocks by set of patients, leaving out those numbered in `without`."""
        sums: dict[str, Counter[Expense]] = {}
        for block in self.blocks:
            if block.seq not in without:
                sums.setdefault(block.patients, Counter()).update(spending_of_json([block.cost]))
        return [(self.patients[digest], spent) for digest, spent in sums.items()]


def patients_digest(patients: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(patients)).encode()).hexdigest()


def worst_off(charges: Sequence[Charge], among: Set[str] | None = None) -> list[Spending]:
    """Spendings of which one belongs to the patient who has lost most: all that no other one outdoes.

    Patients are told apart only as far as the sets do: those that are in the same sets have spent the same. Each
    charge is gone through once, so that a release in many blocks of few patients takes no longer than one in a
    single block of all.
    """
    history: list[tuple[int, int]] = [(-1, -1)]
    """Those who are alike: (those among whom they were before their last charge, that charge)."""
    now: dict[str, int] = {}
    for number, (patients, _) in enumerate(charges):
        moved: dict[int, int] = {}
        for patient in patients if among is None else patients & among:
            before = now.get(patient, 0)
            if before not in moved:
                moved[before] = len(history)
                history.append((before, number))
            now[patient] = moved[before]
    totals = []
    for alike in sorted(set(now.values())):
        total: Counter[Expense] = Counter()
        while alike:
            alike, number = history[alike]
            total.update(charges[number][1])
        totals.append(total)
    return _maximal([total for total in totals if total])


def read_books(records: Sequence[Mapping[str, Any]], where: str) -> Books:
    """Interpret verified records; raises `LedgerError` for what this version does not know."""
    patients: dict[str, frozenset[str]] = {}
    blocks: dict[int, Block] = {}
    notes: list[Mapping[str, Any]] = []
    try:
        opening = _opening(records[0])
        for seq, record in enumerate(records[1:], 2):
            match record["kind"]:
                case "patients":
                    patients[record["digest"]] = frozenset(record["patients"])
                case "reserve":
                    blocks[seq] = _block(seq, record)
                case "close":
                    block = blocks[record["block"]]
                    blocks[block.seq] = evolve(block, checkpoint=record["checkpoint"])
                case "approve" | "refuse" | "repair":
                    notes.append(record)
                case other:
                    raise ValueError(f"unknown kind {other!r}")
        if any(block.patients not in patients for block in blocks.values()):
            raise ValueError("a block of unknown patients")
    except (KeyError, TypeError, ValueError, EventError) as error:
        raise LedgerError(
            f"{where}: expected records of ledger version {API}, found one that cannot be read ({error}); "
            "use the version of privagams that wrote it, or a newer one"
        ) from error
    return Books(opening["dataset"], opening["key"], patients, list(blocks.values()), notes)


def _opening(record: Mapping[str, Any]) -> Mapping[str, Any]:
    if record["kind"] != "open" or record["api"] != API:
        raise ValueError(f"it opens with {record['kind']!r}, version {record.get('api')!r}")
    return record


def _block(seq: int, record: Mapping[str, Any]) -> Block:
    spending_of_json([record["event"]])  # refuses what cannot be priced
    return Block(
        seq, record["run"], record["release"], record["fit"], record["patients"], record["event"],
        record["steps"], record["time"],
    )  # fmt: skip


def _maximal(totals: Sequence[Counter[Expense]]) -> list[Spending]:
    """Those that no other one outdoes in every noisy sum, in Gaussian noise on vectors, and in pure ε together."""
    distinct = {_size(total): total for total in totals}
    kept: list[tuple[_Size, Spending]] = []
    for size, total in sorted(distinct.items(), key=lambda item: _rank(item[0]), reverse=True):
        if not any(_outdoes(other, size) for other, _ in kept):
            kept.append((size, total))
    return [total for _, total in kept]


_Size = tuple[frozenset[tuple[NoisySumCost | SearchCost, int]], float, float]


def _size(total: Spending) -> _Size:
    """Noisy sums and searches, counted; the precision that Gaussian noise on vectors leaves, summed; pure ε, summed.

    No price depends on more than that, and each grows with all three.
    """
    sums = frozenset(
        (cost, count) for cost, count in total.items() if isinstance(cost, NoisySumCost | SearchCost)
    )
    precise = [n / cost.noise**2 for cost, n in total.items() if isinstance(cost, LocalGaussianCost)]
    pure = [n * cost.epsilon for cost, n in total.items() if isinstance(cost, PureCost)]
    return sums, math.fsum(precise), math.fsum(pure)


def _rank(size: _Size) -> tuple[int, float, float]:
    sums, precision, pure = size
    return sum(count for _, count in sums), precision, pure


def _outdoes(one: _Size, other: _Size) -> bool:
    return one[1] >= other[1] and one[2] >= other[2] and Counter(dict(other[0])) <= Counter(dict(one[0]))
