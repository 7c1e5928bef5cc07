"""Best correlation of released images with each patient's known ones, streamed so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from privagams.access import Scores, Target, World
from privagams.records import Records
from privagams_attacks.patients import groups_of, image_files, owners

_CHUNK_BYTES = 128 * 2**20
_GALLERY_ROWS = 128
_FLAT = 1e-9

Vectors = Callable[[Records], np.ndarray]
"""Records to vectors, float64 "n d"; row i depends on record i only."""


def matched(target: Target, world: World, vectors: Vectors, attack: str) -> Scores:
    """Score each group by each patient: mean over the group's images of their best correlation (cosine).

    Guarantee: row g depends on the images of group g alone.
    """
    group, owner, files = groups_of(target, attack), owners(world, attack), image_files(world)
    assert target.groups is not None
    # One patient's images together, and within these one file's, so that a run of columns has one owner.
    order = np.lexsort((owner if files is None else files, owner))
    columns = [owner[order]] if files is None else [owner[order], files[order]]
    counts = [len(world.patients), len(world.images)]
    sums = [np.zeros((target.groups, count)) for count, _ in zip(counts, columns, strict=False)]
    for rows, best in _best(target.released, world.candidates.take(order), vectors, columns, counts):
        for total, part in zip(sums, best, strict=True):
            np.add.at(total, group[rows], part)
    means = [total / np.bincount(group, minlength=target.groups)[:, None] for total in sums]
    return Scores(means[0], by_image=means[1] if files is not None else None)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of norm 1; a row of nothing stays so, and correlates with nothing."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > _FLAT)


def _best(
    released: Records, known: Records, vectors: Vectors, columns: list[np.ndarray], counts: list[int]
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yield (rows, the best correlation with each owner for each numbering), some released images at a time."""
    height, width, channels = released.shape
    at_once = max(1, _CHUNK_BYTES // (8 * height * width * channels))
    for start in range(0, len(released), at_once):
        rows = np.arange(start, min(start + at_once, len(released)))
        probes = _unit(vectors(released.take(rows)))
        best = [np.full((len(rows), count), -1.0) for count, _ in zip(counts, columns, strict=False)]
        for left in range(0, len(known), _GALLERY_ROWS):
            some = np.arange(left, min(left + _GALLERY_ROWS, len(known)))
            alike = probes @ _unit(vectors(known.take(some))).T
            for found, column in zip(best, columns, strict=True):
                _keep_best(found, alike, column[some])
        yield rows, best


def _keep_best(found: np.ndarray, alike: np.ndarray, column: np.ndarray) -> None:
    starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    here = column[starts]
    found[:, here] = np.maximum(found[:, here], np.maximum.reduceat(alike, starts, axis=1))
