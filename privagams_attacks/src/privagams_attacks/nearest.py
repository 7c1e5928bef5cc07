"""Exact nearest neighbours between two sets of features, streamed so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
from attrs import define, frozen

_CHUNK_BYTES = 64 * 2**20
_GALLERY_ROWS = 8192
_TILE = (1024, 1024)
"""Probes × gallery items compared at once: their scores, 4 MiB, stay in a core's cache."""
_PAIRS = 2**14
"""Pairs whose distance is computed exactly at once."""
_UNIT = 2.0**-24
_TINY = 2.0**-126


def nearest(
    probes: np.ndarray,
    gallery: np.ndarray,
    k: int = 1,
    owners: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest gallery items of each probe: (distances float64, positions int64), each "n k".

    Exact: equal to what float64 finds from Σ(a − b)², ties to the lowest position. The rest of a row is
    (inf, −1) where there are fewer than k. `probes` "n d", `gallery` "m d"; either may be a memory map, and
    what is held beside them stays below 256 MiB for up to 8192 dimensions. `owners` (of probes, of gallery,
    int): pairs of one owner do not count. `threads` share the work; the result is the same for any number.

    A matrix product in float32 leaves out what cannot be among the nearest: p·g − ‖g‖²/2, of vectors less
    their centre, is off by at most γ (‖p‖‖g‖ + ‖g‖²/2) with γ = nu/(1 − nu), n = d + 8, u = 2⁻²⁴ (Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). All others are measured in float64.
    """
    if probes.ndim != 2 or gallery.ndim != 2 or probes.shape[1] != gallery.shape[1]:
        raise ValueError(f'nearest: expected "n d" and "m d", found {probes.shape} and {gallery.shape}')
    found = (np.full((len(probes), k), np.inf), np.full((len(probes), k), -1, dtype=np.int64))
    if not len(probes) or not len(gallery):
        return found
    centre = np.asarray(gallery[: _TILE[1]], dtype=np.float64).mean(axis=0)
    with _single_threaded_products(threads), ThreadPoolExecutor(threads) as pool:
        width = probes.shape[1] + 2
        at_once = max(_TILE[0], _CHUNK_BYTES // (4 * width) // _TILE[0] * _TILE[0])
        for start in range(0, len(probes), at_once):
            some = slice(start, min(start + at_once, len(probes)))
            tiles = [
                _Tile.of(probes, slice(i, min(i + _TILE[0], some.stop)), centre, owners, k)
                for i in range(some.start, some.stop, _TILE[0])
            ]
            for block in _blocks(gallery, centre, owners):
                list(pool.map(lambda tile, block=block: tile.meet(block), tiles))
            for tile in tiles:
                found[0][tile.rows], found[1][tile.rows] = np.sqrt(tile.best), tile.position
    return found


def nearest_distance(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Distance from each probe to its nearest gallery item, float64 "n"; inf where the gallery is empty."""
    return nearest(probes, gallery)[0][:, 0]


def nearest_distance_to_others(features: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Distance from each item to the nearest of another owner, float64 "n"; inf where there is none."""
    return nearest(features, features, owners=(owner, owner))[0][:, 0]


def distance_rows(probes: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, Euclidean distances float64 "rows gallery") until all probes are done.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2ab in float64: exact to about 1e-8 of the features' norm, which float32 is not.
    """
    gallery = np.asarray(gallery, dtype=np.float64)
    squares = np.einsum("nd,nd->n", gallery, gallery)
    rows = max(1, _CHUNK_BYTES // (8 * max(1, len(gallery))))
    for start in range(0, len(probes), rows):
        chosen = slice(start, min(start + rows, len(probes)))
        chunk = np.asarray(probes[chosen], dtype=np.float64)
        squared = chunk @ gallery.T
        squared *= -2
        squared += squares
        squared += np.einsum("nd,nd->n", chunk, chunk)[:, None]
        yield chosen, np.sqrt(np.maximum(squared, 0, out=squared), out=squared)


@frozen(eq=False)
class _Block:
    """Part of the gallery, ready for products: rows [g, −‖g‖²/2 in two parts], so that no sum is left to do."""

    start: int
    items: np.ndarray
    """As given, "b d"."""
    extended: np.ndarray
    """float32 "b d+2"."""
    norm: float
    """The largest ‖g‖."""
    owner: np.ndarray | None


def _blocks(
    gallery: np.ndarray, centre: np.ndarray, owners: tuple[np.ndarray, np.ndarray] | None
) -> Iterator[_Block]:
    rows = max(_TILE[1], min(_GALLERY_ROWS, _CHUNK_BYTES // (8 * gallery.shape[1]) // _TILE[1] * _TILE[1]))
    for start in range(0, len(gallery), rows):
        items = np.asarray(gallery[start : start + rows])
        extended, squares = _extended(items, centre)
        high = (-squares / 2).astype(np.float32)
        extended[:, -2], extended[:, -1] = high, -squares / 2 - high
        owner = None if owners is None else np.asarray(owners[1][start : start + rows])
        yield _Block(start, items, extended, float(np.sqrt(squares.max())), owner)


def _extended(items: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Less the centre, as float32 with two columns of ones at the end; and squared norms, float64."""
    extended = np.ones((len(items), items.shape[1] + 2), dtype=np.float32)
    squares = np.empty(len(items))
    for start in range(0, len(items), _TILE[1]):
        rows = slice(start, start + _TILE[1])
        moved = items[rows] - centre
        extended[rows, :-2] = moved
        squares[rows] = np.einsum("nd,nd->n", moved, moved)
    if not squares.max() < 1e36:
        raise ValueError("nearest: features are not finite, or beyond 1e18; standardise them")
    return extended, squares


@define(eq=False)
class _Tile:
    """Some probes and the nearest found so far."""

    rows: slice
    items: np.ndarray
    extended: np.ndarray
    squares: np.ndarray
    owner: np.ndarray | None
    best: np.ndarray
    """Squared distances, rising, "n k"."""
    position: np.ndarray

    @classmethod
    def of(
        cls,
        probes: np.ndarray,
        rows: slice,
        centre: np.ndarray,
        owners: tuple[np.ndarray, np.ndarray] | None,
        k: int,
    ) -> _Tile:
        items = np.asarray(probes[rows])
        extended, squares = _extended(items, centre)
        best = np.full((len(items), k), np.inf)
        owner = None if owners is None else np.asarray(owners[0][rows])
        return cls(rows, items, extended, squares, owner, best, np.full((len(items), k), -1, dtype=np.int64))

    def meet(self, block: _Block) -> None:
        """Take up what the block has nearer. Blocks must come in order: ties go to the first."""
        terms = (block.items.shape[1] + 8) * _UNIT
        error = terms / (1 - terms) * (np.sqrt(self.squares) * block.norm + block.norm**2 / 2)
        error += (block.items.shape[1] + 8) * _TINY
        for start in range(0, len(block.items), _TILE[1]):
            columns = slice(start, start + _TILE[1])
            scores = self.extended @ block.extended[columns].T
            if self.owner is not None and block.owner is not None:
                _leave_out(scores, self.owner, block.owner[columns])
            self._take(scores, error, block, start)

    def _take(self, scores: np.ndarray, error: np.ndarray, block: _Block, start: int) -> None:
        """Measure what may be among the k nearest, and merge it in."""
        k = self.best.shape[1]
        # The k-th distance so far says which scores may still matter; 1e-14 covers float64's own rounding.
        worst = self.best[:, -1]
        least = (
            (self.squares - worst) / 2 - error - 1e-14 * (self.squares + np.where(np.isinf(worst), 0, worst))
        )
        hopeful = np.flatnonzero((scores.max(axis=1) >= least) & (worst > 0))
        if not len(hopeful):
            return
        chosen = scores[hopeful]
        if chosen.shape[1] > k:
            kth = np.partition(chosen, -k, axis=1)[:, -k] if k > 1 else chosen.max(axis=1)
            least[hopeful] = np.maximum(least[hopeful], kth - 2 * error[hopeful])
        # An excluded pair has −inf, which is no more than a bound of −inf.
        row, column = np.nonzero((chosen >= least[hopeful, None]) & (chosen > -np.inf))
        row, column = hopeful[row], column + start
        distances = _squared_distances(self.items, row, block.items, column)
        self._merge(row, distances, column + block.start)

    def _merge(self, row: np.ndarray, distances: np.ndarray, position: np.ndarray) -> None:
        k, touched = self.best.shape[1], np.unique(row)
        row = np.concatenate([np.repeat(touched, k), row])
        distances = np.concatenate([self.best[touched].ravel(), distances])
        position = np.concatenate([self.position[touched].ravel(), position])
        order = np.lexsort((position, distances, row))
        row = row[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = order[rank < k]
        self.best[touched] = distances[kept].reshape(-1, k)
        self.position[touched] = position[kept].reshape(-1, k)


def _leave_out(scores: np.ndarray, owner: np.ndarray, others: np.ndarray) -> None:
    """Set pairs of one owner to −inf."""
    shared = np.flatnonzero(np.isin(others, owner))
    if len(shared):
        part = scores[:, shared]
        part[owner[:, None] == others[shared]] = -np.inf
        scores[:, shared] = part


def _squared_distances(a: np.ndarray, row: np.ndarray, b: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Σ(a − b)² of pairs of rows, in float64."""
    found = np.empty(len(row))
    pairs = max(1, _PAIRS * 256 // a.shape[1])
    for start in range(0, len(row), pairs):
        some = slice(start, start + pairs)
        gap = a[row[some]].astype(np.float64) - b[column[some]]
        found[some] = np.einsum("nd,nd->n", gap, gap)
    return found


def _single_threaded_products(threads: int) -> Any:
    """With threads of our own, the matrix library must not start more."""
    if threads == 1:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")
