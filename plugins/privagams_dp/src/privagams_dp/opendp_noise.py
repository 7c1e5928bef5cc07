"""How OpenDP is asked for noise: whole steps of a grid fixed beforehand, on all cores, its map as the price."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import opendp.prelude as dp
from attrs import field, frozen

_PIECE = 1 << 14
"""Coordinates that one thread takes at a time, about 0.1 s."""


def stated_by() -> str:
    return f"OpenDP {version('opendp')}"


@frozen(eq=False)
class GridNoise:
    """Noise in whole steps of `grid`, a power of two, so that no bit of it depends on the value it is added to.

    OpenDP draws it exactly, in whole numbers, by the samplers of Canonne, Kamath and Steinke (2020), arXiv
    2004.00010, from OpenSSL's generator for private bytes (`RAND_priv_bytes`), which the operating system's entropy
    seeds, anew after a fork too; no seed of ours reaches it. Whole numbers beyond 64 bits are cut off by OpenDP
    after the noise, and steps are turned into float64 after it: both are post-processing.
    """

    grid: float
    scale: float
    """In steps: b of Laplace noise, σ of Gaussian noise."""
    _measurement: Any = field(alias="measurement")

    def cost(self, diameter: float) -> float:
        """OpenDP's map of a distance in steps: ε for Laplace and the L1 norm, ρ for Gaussian and the L2 norm."""
        return float(self._measurement.map(diameter))

    def add(self, steps: np.ndarray) -> np.ndarray:
        """Noisy values, float64, of an int64 array of steps; each entry's noise is its own.

        Guarantee: every call draws anew, for every entry (test_noise_is_fresh_in_every_entry_row_and_call).
        """
        flat = np.ascontiguousarray(steps, dtype=np.int64).reshape(-1)
        pieces = [flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE)]
        noisy = [self._of_piece(p) for p in pieces] if len(pieces) < 2 else self._in_threads(pieces)
        return np.concatenate([np.empty(0), *noisy]).reshape(steps.shape) * self.grid

    def _in_threads(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        # Threads are enough: OpenDP's calls are made through ctypes, which lets other threads run meanwhile.
        with ThreadPoolExecutor(min(_cores(), len(pieces))) as pool:
            return list(pool.map(self._of_piece, pieces))

    def _of_piece(self, steps: np.ndarray) -> np.ndarray:
        return np.array(self._measurement(steps), dtype=np.float64)


def laplace(grid: float, scale: float) -> GridNoise:
    """Discrete Laplace noise, b = `scale` steps."""
    with _contrib():
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
        return GridNoise(grid, scale, dp.m.make_laplace(*space, scale=scale))


def gaussian(grid: float, scale: float) -> GridNoise:
    """Discrete Gaussian noise, σ = `scale` steps."""
    with _contrib():
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float)
        return GridNoise(grid, scale, dp.m.make_gaussian(*space, scale=scale))


def randomised_response(classes: int, probability: float) -> tuple[Callable[[int], int], float]:
    """A draw that keeps a class with `probability` and else takes any other one, and its ε by OpenDP's map."""
    with _contrib():
        found = dp.m.make_randomized_response(list(range(classes)), probability, T="i32")
        return found, float(found.map(1))  # type: ignore[no-untyped-call]  # not annotated by OpenDP


def grid_for(*sizes: float, steps: int, largest: float) -> float:
    """The power of two that is `steps` powers below each of `sizes`, unless `largest` would pass 2⁵⁰ steps."""
    fine = math.floor(math.log2(min(sizes))) - steps
    return 2.0 ** max(fine, math.floor(math.log2(largest)) - 50)


@contextmanager
def _contrib() -> Iterator[None]:
    """OpenDP's proven but not yet vetted parts, switched on for as long as it takes to build one of ours."""
    from opendp.mod import GLOBAL_FEATURES

    was_on = "contrib" in GLOBAL_FEATURES
    dp.enable_features("contrib")
    try:
        yield
    finally:
        if not was_on:
            dp.disable_features("contrib")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
