"""How members are asked for noisy sums: each patient's mean vectors by class, clipped, summed, with noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from attrs import frozen

from privagams.errors import PluginError
from privagams.roles import NoisySum, Summary, Sums
from privagams.training.feed import Feed
from privagams.training.gradients import memory_hint
from privagams.training.job import Job

_ROWS = 256
_ENTRIES = 1 << 25
"""At most so many records' vectors, and so many entries of them, are in memory at once."""


@frozen(eq=False)
class Rows:
    """Blocks of some patients' mean vectors: row j is block `blocks[j]` of patient `patients[j]`."""

    vectors: torch.Tensor
    patients: torch.Tensor
    blocks: torch.Tensor


class Asking:
    """One stretch of sums: what is asked, of whom, and what the mechanism makes of it.

    Guarantee: a patient with many records weighs as much as one with one
    (test_many_records_weigh_no_more_than_one), and all that leaves is what the mechanism's noisy sum releases,
    over public constants (test_the_sum_is_charged_and_has_the_noise_that_it_says).
    """

    def __init__(self, sums: Sums, feed: Feed, job: Job) -> None:
        self._sums, self._feed, self._job = sums, feed, job
        self._patients = feed.by_patient()
        self.blocks = max(1, len(job.space.classes)) if sums.by_class else 1
        self.width = _width(sums, job)

    def exact(self) -> torch.Tensor:
        """The sums over all members without noise, "sums blocks d": for a yardstick."""
        total = torch.zeros(self.blocks, self.width, dtype=torch.float64)
        for rows in self._rows(range(len(self._patients))):
            total.index_add_(0, rows.blocks.cpu(), rows.vectors.double().cpu())
        return total.float().expand(self._sums.count, -1, -1).clone()

    def collect(self, noise_multiplier: float) -> list[NoisySum]:
        """Draw patients for each sum and add what they say; nothing is released yet."""
        mechanism, public = self._job.mechanism, self._job.public_patients
        assert mechanism is not None
        doors = []
        for _ in range(self._sums.count):
            like = torch.zeros(self.blocks, self.width, device=self._job.device)
            door = mechanism.noisy_sum([like], noise_multiplier, public)
            for rows in self._rows(door.sample(len(self._patients)).tolist()):
                # Vectors are of norm 1 at most, the mechanism's clip norm may be another.
                scaled = rows.vectors if mechanism.clip_norm == 1.0 else rows.vectors * mechanism.clip_norm
                door.add_blocks(scaled, rows.patients, rows.blocks)
            doors.append(door)
        return doors

    def release(self, doors: Sequence[NoisySum]) -> torch.Tensor:
        """Release each sum, in units of the clip norm: "sums blocks d"."""
        assert self._job.mechanism is not None
        clip = self._job.mechanism.clip_norm
        return torch.stack([door.release()[0].cpu() / clip for door in doors])

    def _rows(self, chosen: Sequence[int]) -> Iterator[Rows]:
        """All rows of a patient come together; of many records, a part of them is in memory at once."""
        most = max(1, min(_ROWS, _ENTRIES // max(1, self.width)))
        with torch.no_grad(), memory_hint("the number of tiles per patient"):
            for some in _together(chosen, [len(p) for p in self._patients], most):
                yield self._of(some, most)

    def _of(self, patients: Sequence[int], most: int) -> Rows:
        positions = np.concatenate([self._patients[i] for i in patients])
        counts = np.array([len(self._patients[i]) for i in patients])
        owner = np.repeat(np.asarray(patients, dtype=np.int64), counts)
        weight = np.repeat(1.0 / counts, counts)
        if len(positions) <= most:
            vectors, block = self._vectors(positions)
            if counts.max() == 1:
                return Rows(vectors, torch.from_numpy(owner).to(vectors.device), block)
            return self._pooled(vectors, block, owner, weight)
        # One patient of many records: sums by class, part by part.
        total = torch.zeros(self.blocks, self.width, device=self._job.device)
        for start in range(0, len(positions), most):
            vectors, block = self._vectors(positions[start : start + most])
            total.index_add_(0, block, vectors * float(weight[0]))
        every = torch.arange(self.blocks, device=total.device)
        return Rows(total, torch.full_like(every, patients[0]), every)

    def _pooled(
        self, vectors: torch.Tensor, block: torch.Tensor, owner: np.ndarray, weight: np.ndarray
    ) -> Rows:
        device = vectors.device
        key = torch.from_numpy(owner).to(device) * self.blocks + block
        distinct, place = torch.unique(key, return_inverse=True)
        weighted = vectors * torch.from_numpy(weight).to(vectors)[:, None]
        rows = vectors.new_zeros(len(distinct), self.width).index_add_(0, place, weighted)
        return Rows(rows, distinct // self.blocks, distinct % self.blocks)

    def _vectors(self, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self._feed.batch(positions)
        vectors = self._sums.features(batch)
        if tuple(vectors.shape) != (len(positions), self.width):
            raise PluginError(
                f"sums {self._sums.name!r}: expected one vector per record, shape "
                f"{(len(positions), self.width)}, found {tuple(vectors.shape)}"
            )
        if self.blocks == 1:
            return vectors, torch.zeros(len(positions), dtype=torch.int64, device=vectors.device)
        return vectors, batch["labels"]


def tell(sums: Sums, job: Job, totals: torch.Tensor, noise_multiplier: float) -> None:
    """Hand the model what came."""
    rate = 1.0 if job.mechanism is None else job.mechanism.sampling_rate(job.public_patients)
    sums.take(Summary(totals, rate * job.public_patients, noise_multiplier))


def _together(chosen: Sequence[int], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield runs of patients with at most `most` records together, or one patient with more."""
    run: list[int] = []
    held = 0
    for patient in chosen:
        if run and held + sizes[patient] > most:
            yield run
            run, held = [], 0
        run.append(patient)
        held += sizes[patient]
    if run:
        yield run


def _width(sums: Sums, job: Job) -> int:
    """Length of a feature vector, found on a black image: no member is needed for it."""
    space = job.space
    batch = {"pixels": torch.full((1, space.channels, space.size, space.size), -1.0, device=job.device)}
    if space.classes:
        batch["labels"] = torch.zeros(1, dtype=torch.int64, device=job.device)
    with torch.no_grad():
        vectors = sums.features(batch)
    if vectors.ndim != 2 or len(vectors) != 1:
        raise PluginError(
            f"sums {sums.name!r}: expected one vector per record, shape (1, d), found {tuple(vectors.shape)}"
        )
    return int(vectors.shape[1])
