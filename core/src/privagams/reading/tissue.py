"""What counts as tissue, judged within one slide from a small overview of it."""

from __future__ import annotations

import numpy as np
from attrs import frozen

FAINT, STRONG = 12, 28
"""Bounds of the threshold on chroma (of 255), so that only glass, or only tissue, is not split in two."""


def tissue_mask(overview: np.ndarray) -> np.ndarray:
    """Mark the tissue of an overview: uint8 "h w 3" to bool "h w".

    Stained tissue is coloured; glass, ink that is black, and scanner borders are not. Chroma (largest minus
    smallest of R, G, B) is split by Otsu's threshold (Otsu 1979) of this slide alone, held within `FAINT` and
    `STRONG`; specks and pinholes of fewer than 16 px go.
    """
    from skimage.filters import threshold_otsu
    from skimage.morphology import remove_small_holes, remove_small_objects

    chroma = overview.max(axis=2) - overview.min(axis=2)
    counts = np.bincount(chroma.ravel(), minlength=256)
    split = FAINT
    if np.count_nonzero(counts) > 1:
        split = threshold_otsu(hist=(counts, np.arange(256)))  # type: ignore[no-untyped-call]
    mask: np.ndarray = chroma > np.clip(split, FAINT, STRONG)
    if min(mask.shape) < 16:
        return mask
    cleaned: np.ndarray = remove_small_holes(remove_small_objects(mask, max_size=15), max_size=15)
    return cleaned


@frozen(eq=False)
class Coverage:
    """How much of any box is tissue, in constant time (summed-area table, Crow 1984)."""

    table: np.ndarray
    """Sums of the mask above and left of each corner, "h+1 w+1"."""

    @classmethod
    def of(cls, mask: np.ndarray) -> Coverage:
        table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.uint32)
        np.cumsum(np.cumsum(mask, axis=0, dtype=np.uint32), axis=1, out=table[1:, 1:])
        return cls(table)

    def shares(self, columns: int, rows: int, side: float) -> np.ndarray:
        """Share of tissue of each cell of a grid with cells of `side` mask px, float64 "rows columns"."""
        tops, bottoms = _edges(rows, side, self.table.shape[0] - 1)
        lefts, rights = _edges(columns, side, self.table.shape[1] - 1)
        sums = self.table.astype(np.int64)
        inside = (
            sums[np.ix_(bottoms, rights)]
            - sums[np.ix_(tops, rights)]
            - sums[np.ix_(bottoms, lefts)]
            + sums[np.ix_(tops, lefts)]
        )
        found: np.ndarray = inside / np.outer(bottoms - tops, rights - lefts)
        return found


def _edges(cells: int, side: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    starts = np.minimum(np.rint(np.arange(cells) * side).astype(np.int64), length - 1)
    ends = np.minimum(np.rint((np.arange(cells) + 1) * side).astype(np.int64), length)
    return starts, np.maximum(ends, starts + 1)
