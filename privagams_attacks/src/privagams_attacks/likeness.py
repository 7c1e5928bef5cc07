"""What makes two images alike to a copy detector, as Euclidean distances over several versions of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from privagams.records import Records
from privagams_attacks.nearest import distance_rows


@frozen(eq=False)
class Likeness:
    """Images as vectors: one of each, and the versions of it (shifts) that are tried against others."""

    plain: np.ndarray
    """float "n d"."""
    versions: Sequence[Any]
    """Each float "n d": arrays, or what gives a part of one when sliced."""

    def to_owners(self, others: Likeness, owner: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, some images at a time, the least distance to an image of each owner, float64 "rows owners".

        Owners are numbered from 0 and each has an image among `others`.
        """
        order = np.argsort(owner, kind="stable")
        sorted_owner = owner[order]
        starts = np.flatnonzero(np.r_[True, sorted_owner[1:] != sorted_owner[:-1]])
        rows = zip(*(distance_rows(version, others.plain[order]) for version in self.versions), strict=True)
        for parts in rows:
            least = parts[0][1]
            for _, distances in parts[1:]:
                np.minimum(least, distances, out=least)
            yield np.minimum.reduceat(least, starts, axis=1)


def correlation_features(features: np.ndarray) -> Likeness:
    """Distances √(2 − 2ρ), ρ Pearson's correlation; features without spread lie at 1 from all others."""
    centred = features - features.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-9)
    return Likeness(unit, (unit,))


def shifted_pixels(records: Records, side: int, shift: int) -> Likeness:
    """Distances √mean (a − b)² of pixels in [0, 1]; one image's middle against the other's, moved up to `shift` px."""
    small = np.concatenate([_reduced(pixels, side) for _, pixels in records.batches(256)])
    _, height, width, _ = small.shape
    shift = min(shift, (min(height, width) - 1) // 2)

    def cut(down: int, right: int) -> _Cut:
        return _Cut(small, slice(down, down + height - 2 * shift), slice(right, right + width - 2 * shift))

    moves = range(2 * shift + 1)
    return Likeness(cut(shift, shift)[:], [cut(down, right) for down in moves for right in moves])


@frozen(eq=False)
class _Cut:
    """A window of every image, flattened when asked for: all shifts at once would take too much memory."""

    images: np.ndarray
    down: slice
    right: slice

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> np.ndarray:
        part = self.images[rows, self.down, self.right]
        flat = part.reshape(len(part), -1)
        return flat / np.float32(np.sqrt(flat.shape[1]))


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """Means over equal squares, as many px as it takes to come down to `side`, float32 in [0, 1]."""
    count, height, width, channels = pixels.shape
    factor = max(1, -(-max(height, width) // side))
    high, wide = height // factor, width // factor
    squares = pixels[:, : high * factor, : wide * factor].reshape(count, high, factor, wide, factor, channels)
    return squares.mean(axis=(2, 4), dtype=np.float32) / 255
