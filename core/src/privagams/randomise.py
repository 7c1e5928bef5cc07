"""The stage that makes randomised copies: choose, encode, randomise block by block in the ledger, decode, write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from attrs import frozen

from privagams.context import Context
from privagams.coordinates import Codec, codec_of, cost_of_patient
from privagams.errors import BudgetError, StageError
from privagams.latents import latent_figures
from privagams.plan import Stage
from privagams.plugins import Registry
from privagams.records import Records
from privagams.records_store import PIXELS, create_pixels, write_table
from privagams.roles import LocalMechanism, Progress, Randomiser
from privagams.splits import MAIN, MEMBER, NONMEMBER, coin
from privagams.stage_inputs import build, records_of, space_of, table_of
from privagams.store import file_digest, write_json

if TYPE_CHECKING:
    from dp_accounting import DpEvent

BLOCKS = 20
"""Most blocks of patients in one release: a crash loses, and has paid for, the patients of one of them."""
_CHUNK = 32
_ASSEMBLED = "assembled.json"


def randomise(
    stage: Stage, context: Context, registry: Registry, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Randomise exactly `images_per_patient` images of each member and write them in a random order.

    Guarantee: an image is touched by noise only after its patient has been charged for it, once in all attempts
    together: patients whose block a crash cut short are left out, and their charge stays
    (test_patients_of_an_unfinished_block_are_left_out_and_stay_charged). Who is left out depends on when the
    crash came, not on any image: whatever an image can do to make this fail it does before anybody is charged, and
    again in every attempt (test_an_image_that_cannot_be_encoded_stops_every_attempt_and_costs_nothing), and what
    is decoded has its noise already.
    """
    records, table = records_of(stage, context), table_of(stage, context)
    images, space = stage.settings["images_per_patient"], space_of(stage, context)
    codec = codec_of(stage, context, registry)
    mechanism: LocalMechanism = build(registry, "mechanisms", stage.settings["mechanism"])
    randomiser = mechanism.randomiser(codec.coordinates, len(space.classes), images)
    chosen = images_of_each(records, table.where(MEMBER, MAIN), images, context.home.salt)
    work = _Work(records, chosen, codec, randomiser, space.classes, images)
    facts: dict[str, Any] = {}
    if not (folder / _ASSEMBLED).is_file():
        codec.rehearse(randomiser)
        work.require_encodable()
        account = _Accounts(stage, context, randomiser.event, images)
        parts = np.array_split(np.array(sorted(chosen)), min(BLOCKS, len(chosen)))
        found = [_block(work, part.tolist(), i, folder, account) for i, part in _told(parts, progress)]
        _assemble(work, [block for block in found if block is not None], folder)
    for path in folder.glob("block-*.npz"):
        path.unlink()
    written = np.load(folder / "rows.npy")
    lost = len(chosen) * images - len(written)
    if lost:
        facts["notes"] = [
            f"An interruption came when {lost // images} patients' images were being randomised: they are left out, "
            "and their privacy counts as spent."
        ]
    if codec.model is not None:
        held_out = records.take(table.where(NONMEMBER))
        facts["latents"] = latent_figures(codec, held_out, np.random.default_rng(stage.seed))
    return {
        **facts, "images": len(written), "per_element_epsilon": randomiser.per_element_epsilon,
        "coordinates": codec.coordinates.size, "labels": bool(np.load(folder / "labelled.npy")),
    }  # fmt: skip


def images_of_each(records: Records, wanted: np.ndarray, count: int, salt: bytes) -> dict[str, np.ndarray]:
    """Rows of exactly `count` images of each patient among the `wanted` records, by patient.

    Which ones depends on salt, patient and that patient's own records alone; of a patient with fewer images some
    are used again, since how many come out of each patient is public.
    """
    rows = np.flatnonzero(wanted)
    names = records.patient[rows].astype(str)
    found = {}
    for name in np.unique(names).tolist():
        mine = rows[names == name]
        order = sorted(range(len(mine)), key=lambda j: coin(salt, "randomised", name, str(j)))
        found[name] = mine[np.resize(order, count)]
    return found


@frozen(eq=False)
class _Work:
    records: Records
    chosen: Mapping[str, np.ndarray]
    codec: Codec
    randomiser: Randomiser
    classes: Sequence[str]
    images: int
    """Of each patient: what the claim is made for."""

    def require_encodable(self) -> None:
        """Encode every chosen image once for nothing, so that one that cannot be stops all before any is charged."""
        for name, rows in self.chosen.items():
            if len(rows) != self.images:
                raise StageError(
                    f"patient {name}: expected exactly {self.images} images, for which the claim is made, found "
                    f"{len(rows)}; set images_per_patient to what is meant to leave"
                )
        for _ in self._vectors(sorted(self.chosen)):
            pass

    def of(self, patients: Sequence[str]) -> dict[str, np.ndarray]:
        """Noisy vectors of these patients' images, with the rows they were made of and their labels, −1 for none."""
        rows = np.concatenate([self.chosen[name] for name in patients])
        noisy = [self.randomiser.randomise(vectors) for vectors in self._vectors(patients)]
        labels = self._labels(self.records.take(rows))
        return {"rows": rows, "vectors": np.concatenate(noisy), "labels": labels}

    def _vectors(self, patients: Sequence[str]) -> Iterator[np.ndarray]:
        rows = np.concatenate([self.chosen[name] for name in patients])
        for chunk in np.array_split(rows, -(-len(rows) // _CHUNK)):
            shown = self.records.take(chunk)
            try:
                vectors = self.codec.encode(shown.read())
            except StageError as error:
                error.add_note(
                    f"of the images {', '.join(shown.column('image').astype(str))}; nothing was charged"
                )
                raise
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(bad):
                raise StageError(
                    f"image {shown.column('image')[bad[0]]}: expected finite latents, found others; nothing was "
                    "charged; take the image out of the source's table, or train the flow differently"
                )
            yield vectors

    def _labels(self, records: Records) -> np.ndarray:
        if not self.classes:
            return np.full(len(records), -1, dtype=np.int64)
        known = records.label_index(self.classes)
        # A label that is none of the classes must look like one of them: randomised response takes no other.
        guess = np.random.default_rng().integers(0, len(self.classes), len(known))
        return self.randomiser.labels(np.where(known >= 0, known, guess), np.random.default_rng())


class _Account(Protocol):
    def reserve(self, event: DpEvent, steps: int) -> Any: ...
    def close(self, block: Any, checkpoint: str) -> Any: ...


class _Accounts:
    """The ledger's account of each block of patients; of nobody for a yardstick, which never leaves."""

    def __init__(self, stage: Stage, context: Context, event: DpEvent, images: int) -> None:
        self._stage, self._context, self._event, self.images = stage, context, event, images

    def of(self, patients: Sequence[str]) -> tuple[_Account, list[Any]]:
        """The account, and all blocks that earlier attempts have reserved for these very patients."""
        if not self._stage.settings["charged"]:
            from privagams.ledger.uncharged import Uncharged

            return Uncharged(), []
        from privagams.ledger.books import patients_digest
        from privagams.ledger.ledger import Ledger

        account = Ledger(self._context.home.folder).account(
            run=self._context.pipeline.name, release=self._stage.release, fit=self._stage.key,
            patients=list(patients), budget=self._context.pipeline.budget, run_folder=self._context.run_folder,
        )  # fmt: skip
        own = patients_digest(frozenset(patients))
        return account, [block for block in account.blocks() if block.patients == own]

    @property
    def cost(self) -> DpEvent:
        """Of one patient: all its images."""
        return cost_of_patient(self._event, self.images)


def _block(
    work: _Work, patients: Sequence[str], number: int, folder: Path, accounts: _Accounts
) -> Path | None:
    """One block of patients: reserved, randomised, saved, closed, in this order; None where a crash lost it."""
    path = folder / f"block-{number:02d}.npz"
    account, before = accounts.of(patients)
    if before:
        kept = path.is_file() and file_digest(path) in {block.checkpoint for block in before}
        return path if kept else None
    reserved = account.reserve(accounts.cost, accounts.images)
    made = work.of(patients)
    with open(path, "wb") as file:
        np.savez(file, rows=made["rows"], vectors=made["vectors"], labels=made["labels"])
        file.flush()
        os.fsync(file.fileno())
    account.close(reserved, file_digest(path))
    return path


def _assemble(work: _Work, blocks: Sequence[Path], folder: Path) -> None:
    """Decode the blocks and put them together, in an order that says nothing of patients."""
    if not blocks:
        raise BudgetError(
            "randomised copies: expected budget for at least one patient, found all of it reserved by earlier "
            "attempts of which nothing is left. What was reserved counts for ever: to release these patients "
            "again, give the release another seed, as its own entry in the ledger (its own training is then paid "
            "for again, too)"
        )
    rows, labels = [], []
    pixels: list[np.ndarray] = []
    for path in blocks:
        with np.load(path, allow_pickle=False) as block:
            rows.append(block["rows"])
            labels.append(block["labels"])
            pixels += _decoded(work, block["vectors"], path)
    _write(work, np.concatenate(rows), np.concatenate(pixels), np.concatenate(labels), folder)


def _decoded(work: _Work, vectors: np.ndarray, path: Path) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), _CHUNK):
        try:
            yield work.codec.decode(vectors[start : start + _CHUNK])
        except StageError as error:
            error.add_note(
                f"counted from copy {start} of {path.name}. The noise is drawn and paid for, and every further run "
                "decodes the same vectors: set shrink = true, a larger ε, or train another flow, as a release "
                "of its own"
            )
            raise


def _write(work: _Work, rows: np.ndarray, pixels: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    order = np.random.default_rng().permutation(len(rows))
    names = np.array([*work.classes, ""])
    shutil.rmtree(folder / PIXELS, ignore_errors=True)  # of an attempt that was cut short
    store = create_pixels(folder, pixels.shape)
    store[:] = pixels[order]
    write_table(
        folder, {"label": names[labels[order]], "group": np.arange(len(rows)), "row": np.arange(len(rows))}
    )
    np.save(folder / "rows.npy", rows[order])
    np.save(folder / "group.npy", np.arange(len(rows)))
    np.save(folder / "labelled.npy", np.array((labels >= 0).any()))
    write_json(folder / _ASSEMBLED, {"images": len(rows)})


def _told(parts: Sequence[np.ndarray], progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
    for number, part in enumerate(parts):
        progress(number, len(parts))
        yield number, part
