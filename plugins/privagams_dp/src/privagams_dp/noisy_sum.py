"""The one primitive of all training mechanisms: a sum over patients, clipped by Opacus, plus noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from opacus.optimizers import DPOptimizer

from privagams_dp import entropy

_HAIR = 1e-5
"""Share of the clip norm that is left to float32 rounding of norms and of one chunk's sum."""
_ROWS = 256
"""Patients that are added up in float32 at once: of many thousands alike the rounding would pass the hair."""
_PIECE = 1 << 16
"""Entries whose norm Opacus takes at once: over 4 million, torch's float32 norm is 7e-5 too small."""


class GaussianSum:
    """A sum over Poisson-sampled patients with Gaussian noise (`roles.NoisySum`).

    Σ_i v_i · min(1, C / |v_i|) + N(0, (z·C)²), C the clip norm, z the noise multiplier.

    Guarantee: with the noise off, zeroing out one patient moves the sum by at most C
    (test_zeroing_out_one_patient_moves_the_sum_by_at_most_the_clip_norm), and the noise has standard
    deviation z·C also when nobody was sampled (test_noise_has_the_claimed_size_even_in_an_empty_batch).
    """

    def __init__(
        self, like: Sequence[torch.Tensor], clip_norm: float, noise_multiplier: float, rate: float
    ) -> None:
        self._rate, self._std, self._clip_norm = rate, noise_multiplier * clip_norm, clip_norm
        self._seen: set[int] = set()
        self._shapes = [t.shape for t in like]
        self._total = torch.zeros(sum(t.numel() for t in like), dtype=torch.float64, device=like[0].device)
        self._pieces = [piece for part in self._parts() for piece in _cut(part[None])]
        self._slots = [torch.nn.Parameter(torch.zeros_like(p[0], dtype=torch.float32)) for p in self._pieces]
        self._clipper = DPOptimizer(
            torch.optim.SGD(self._slots, lr=0.0),
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm * (1 - _HAIR),
            expected_batch_size=None,
            loss_reduction="sum",
        )

    def sample(self, patients: int) -> np.ndarray:
        """Draw this step's patients by independent coins; see `roles.NoisySum`."""
        return entropy.coins(patients, self._rate)

    def add(self, vectors: Sequence[torch.Tensor]) -> None:
        """Clip each patient's vector and add it; what is not a finite number counts as 0."""
        for start in range(0, len(vectors[0]), _ROWS):
            self._add_some([vector[start : start + _ROWS] for vector in vectors])

    def _add_some(self, vectors: Sequence[torch.Tensor]) -> None:
        cut = [piece for vector in vectors for piece in _cut(_finite(vector.detach().float()))]
        for slot, piece in zip(self._slots, cut, strict=True):
            slot.grad_sample = piece  # type: ignore[attr-defined]
        self._clipper.clip_and_accumulate()
        for slot, total in zip(self._slots, self._pieces, strict=True):
            # float64, so that a patient's weight does not depend on how much was summed before.
            total[0] += slot.summed_grad  # type: ignore[attr-defined]
            slot.grad_sample = slot.summed_grad = None  # type: ignore[attr-defined]

    def add_blocks(self, vectors: torch.Tensor, patients: torch.Tensor, blocks: torch.Tensor) -> None:
        """Clip patients whose vectors are 0 but for some blocks, and add them; see `roles.NoisySum`."""
        (total,) = self._parts()
        vectors = vectors.detach().float()
        distinct, owner = torch.unique(patients, return_inverse=True)
        self._refuse_repeated(distinct, owner, blocks)
        lengths = _squared_lengths(vectors)
        # These vectors are long: lengths tell as well whether all entries are numbers, without another pass.
        if not bool(torch.isfinite(lengths).all()):
            vectors = _finite(vectors)
            lengths = _squared_lengths(vectors)
        squared = lengths.new_zeros(len(distinct)).index_add_(0, owner, lengths)
        room = self._clip_norm * (1 - _HAIR)
        factor = (room / squared.sqrt().clamp(min=room))[owner].to(vectors.dtype)
        for some in torch.split(torch.arange(len(vectors), device=vectors.device), _ROWS):
            present, place = torch.unique(blocks[some], return_inverse=True)
            weights = torch.zeros(len(present), len(some), dtype=vectors.dtype, device=vectors.device)
            weights[place, torch.arange(len(some), device=vectors.device)] = factor[some]
            total.index_add_(0, present, (weights @ vectors[some]).double())

    def _refuse_repeated(self, distinct: torch.Tensor, owner: torch.Tensor, blocks: torch.Tensor) -> None:
        """A patient in two calls, or twice in one block, would be clipped twice and weigh more than C."""
        pairs = torch.stack([owner, blocks])
        seen = self._seen.intersection(distinct.tolist())
        if seen or torch.unique(pairs, dim=1).shape[1] < pairs.shape[1]:
            raise ValueError(
                "noisy sum: expected each patient in one call, once for each block, found one twice"
            )
        self._seen.update(distinct.tolist())

    def pool(self, add_up: Callable[[torch.Tensor], None]) -> None:
        """Have the clipped sum added up over processes; see `roles.PooledSum`."""
        add_up(self._total)

    def release(self) -> list[torch.Tensor]:
        """Add the noise, return the sum, start anew."""
        # Not Opacus' add_noise: that draws from a seeded generator, and fails for an empty batch.
        self._total += entropy.gaussian(self._total.shape, self._std).to(self._total.device)
        released = [part.to(torch.float32) for part in self._parts()]
        self._total.zero_()
        self._seen.clear()
        return released

    def _parts(self) -> list[torch.Tensor]:
        """Views of the sum in the shapes of `like`."""
        parts = torch.split(self._total, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _cut(vectors: torch.Tensor) -> Sequence[torch.Tensor]:
    """Views "b n" of consecutive entries."""
    return torch.split(vectors.reshape(len(vectors), -1), _PIECE, dim=1)


def _squared_lengths(vectors: torch.Tensor) -> torch.Tensor:
    """Of each row, float64 "b"; pieces in float32 are exact to well within the hair."""
    return torch.stack([torch.linalg.vector_norm(p, dim=1).double().square() for p in _cut(vectors)]).sum(0)


def _finite(vector: torch.Tensor) -> torch.Tensor:
    """One patient with a NaN must not turn the whole sum into NaN: that would be unbounded sensitivity."""
    if bool(torch.isfinite(vector.sum())):  # one pass; an overflow of the sum itself only costs a second
        return vector
    return torch.nan_to_num(vector, nan=0.0, posinf=0.0, neginf=0.0)
