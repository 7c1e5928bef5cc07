"""Where privacy's randomness comes from: the operating system's generator, never seeded, never kept."""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from randomgen import AESCounter

_CHUNK = 1 << 16
"""Entries per turn, so that a turn's draws stay in the processor's cache."""


def coins(count: int, probability: float) -> np.ndarray:
    """Flip `count` independent coins; positions that came up, int64.

    Guarantee: each position is in with `probability` (to 2⁻⁵³), independently of all others and of any seed
    (test_each_patient_takes_part_with_the_claimed_probability).
    """
    words = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    return np.flatnonzero((words >> np.uint64(11)) * 2.0**-53 < probability)


def gaussian(shape: torch.Size, std: float) -> torch.Tensor:
    """Draw float64 noise N(0, std²) of `shape` on the CPU.

    Marsaglia and Tsang's ziggurat (2000, J. Stat. Softw. 5(8)) on 64-bit words of AES-128 in counter mode; each entry
    is half the sum of four such draws from different words, so that its low bits do not betray the value it was added
    to (Holohan and Braghin 2021, arXiv 2107.10138, n = 2).

    Guarantee: the bits are those of a cryptographic generator (test_words_are_those_of_aes_in_counter_mode) whose key
    and counter the operating system draws anew for each call, so that none is ever kept, seeded, or shared by forked
    processes (test_every_call_draws_its_own_key, test_private_training_differs_although_the_seed_is_fixed).
    """
    out = np.empty(math.prod(shape), dtype=np.float64)
    generator, draw = np.random.Generator(_stream()), np.empty(min(_CHUNK, len(out)))
    for start in range(0, len(out), _CHUNK):
        part = out[start : start + _CHUNK]
        generator.standard_normal(out=part)
        for _ in range(3):
            part += generator.standard_normal(out=draw[: len(part)])
    out *= 0.5 * std
    return torch.from_numpy(out).reshape(shape)


def _stream() -> AESCounter:
    """Words of AES-128 in counter mode, from a key and a first counter of their own.

    The key is set as it is: without `key`, randomgen would stretch a seed by a generator that is none of cryptography.
    Three bits of the counter stay 0, since randomgen lets no addition pass 2¹²⁸.
    """
    drawn = int.from_bytes(os.urandom(32), "little")
    return AESCounter(key=drawn >> 128, counter=(drawn & (1 << 128) - 1) >> 3)
