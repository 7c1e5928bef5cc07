"""Where privacy's randomness comes from: the operating system's generator, never seeded, never kept."""

from __future__ import annotations

import math
import os

import numpy as np
import torch

_CHUNK = 1 << 18
"""Entries per turn, so that memory stays flat in the model's size (about 20 MB)."""


def coins(count: int, probability: float) -> np.ndarray:
    """Flip `count` independent coins; positions that came up, int64.

    Guarantee: each position is in with `probability` (to 2⁻⁵³), independently of all others and of any seed
    (test_each_patient_takes_part_with_the_claimed_probability).
    """
    return np.flatnonzero(_uniform(count).numpy() < probability)


def gaussian(shape: torch.Size, std: float) -> torch.Tensor:
    """Draw float64 noise N(0, std²) of `shape` on the CPU.

    Box–Muller on 53-bit radii and 32-bit angles; each entry is half the sum of four such draws from four
    different pairs, so that its low bits do not betray the value it was added to (Holohan and Braghin 2021,
    arXiv 2107.10138, n = 2).

    Guarantee: the bits are the operating system's CSPRNG's
    (test_private_training_differs_although_the_seed_is_fixed).
    """
    out = torch.empty(math.prod(shape), dtype=torch.float64)
    for part in torch.split(out, _CHUNK):
        # At least two, so that each entry's draws are of different pairs.
        part.copy_(_standard(max(len(part), 2))[: len(part)])
    return out.mul_(std).reshape(shape)


def _standard(count: int) -> torch.Tensor:
    radius = _uniform(2 * count).log_().mul_(-2.0).sqrt_().view(2, count)
    angle = _words(2 * count, torch.int32).to(torch.float64).mul_(math.pi * 2.0**-31).view(2, count)
    from_cosine = (radius * angle.cos()).sum(0)
    # A pair's cosine and sine in one entry would be a single draw: give the sine to the next entry.
    from_sine = (radius * angle.sin_()).sum(0).roll(1)
    return from_cosine.add_(from_sine).mul_(0.5)


def _uniform(count: int) -> torch.Tensor:
    """float64 in (0, 1): the middle of each of 2⁵³ equal steps, so that a logarithm of it is finite."""
    bits = _words(count, torch.int64).bitwise_and_((1 << 53) - 1)
    return bits.to(torch.float64).add_(0.5).mul_(2.0**-53)


def _words(count: int, dtype: torch.dtype) -> torch.Tensor:
    random = bytearray(os.urandom(dtype.itemsize * max(count, 1)))
    return torch.frombuffer(random, dtype=dtype)[:count]
