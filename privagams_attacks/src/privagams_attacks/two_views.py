"""Linkage through a release: do two halves of what is known of a patient meet in the same drawn image?"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from attrs import frozen
from scipy.stats import rankdata

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.matching import standardised
from privagams_attacks.nearest import distance_rows
from privagams_attacks.patients import mean_by, owners
from privagams_attacks.settings import TwoViewsSettings

_CELLS = 8
_SAME = 1e-7


@frozen
class TwoViews:
    """Anonymeter's linkability for images (Giomi et al. 2023, PoPETs, arXiv 2211.10459).

    An adversary with two data sets, each showing one view of its patients' images, looks in each for the k
    released images nearest to view A, and to view B. A candidate image is linked when these two sets share one.
    For image c let m(c) be the least k at which they do: m = min_r max(rank of r in A, rank of r in B), equal
    distances taking their last rank. A patient's score is −mean ln m over his or her images, the threshold
    −ln(k + ½): with one image a patient, those called found are exactly anonymeter's. Chance links a share
    b = 1 − C(N−k, k)/C(N, k) of images to N released ones, and non-members with looks in common: the judge's
    comparison with non-members takes the place of anonymeter's control.
    """

    settings: TwoViewsSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score candidate patients; draws nothing from `rng`."""
        if target.groups is not None:
            raise NotApplicable("copies are linked to their patient directly, not through drawn images")
        owner = owners(world, "two-views")
        known, released = self._views(world, world.candidates), self._views(world, target.released)
        ranks = meeting_rank([standardised(a, b) for a, b in zip(known, released, strict=True)])
        values = -mean_by(np.log(ranks), owner, len(world.patients))
        k = min(self.settings.k, len(target.released))
        return Scores(values, threshold=-math.log(k + 0.5))

    def _views(self, world: World, records: Records) -> tuple[np.ndarray, np.ndarray]:
        if self.settings.views == "features":
            features = world.features(self.settings.embedder, records)
            if features.shape[1] < 2:
                raise NotApplicable("a single feature has no halves")
            middle = features.shape[1] // 2
            return features[:, :middle], features[:, middle:]
        if self.settings.views == "channels" and records.shape[2] < 2:
            raise NotApplicable("grey images have one channel; take other views")
        coarse = np.concatenate([_coarse(pixels) for _, pixels in records.batches(256)])
        if self.settings.views == "channels":
            return _flat(coarse[..., 0]), _flat(coarse[..., -1])
        middle = coarse.shape[2] // 2
        return _flat(coarse[:, :, :middle]), _flat(coarse[:, :, middle:])


def meeting_rank(views: list[list[np.ndarray]]) -> np.ndarray:
    """The least k at which the views of a known image meet, int64 "n".

    `views` holds [known "n d", released "m d"] of each view.
    """
    rows = zip(*(distance_rows(known, released) for known, released in views), strict=True)
    return np.concatenate([_meet(*(_steps(distances) for _, distances in parts)) for parts in rows])


def chance_of_meeting(released: int, k: int) -> float:
    """1 − C(N−k, k)/C(N, k): how often two independent draws of k of N share one."""
    return 1 - math.comb(released - k, k) / math.comb(released, k) if 2 * k <= released else 1.0


def _steps(distances: np.ndarray) -> np.ndarray:
    """Distances in steps of 1e-7 of a row's largest: what rounding alone may part becomes equal. In place."""
    scale = distances.max(axis=1, keepdims=True) * _SAME
    scale[scale == 0] = 1
    distances /= scale
    return np.rint(distances, out=distances)


def _meet(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """min_r max(rank in a, rank in b) of each row, ranks from 1, equal entries taking their last.

    Two independent views meet within the first 3√m of m almost surely, so only those are sorted; rows that do
    not meet there, or only at its edge, are ranked as a whole.
    """
    depth = min(a.shape[1], 3 * math.isqrt(a.shape[1]) + 1)
    near = [np.sort(np.partition(view, depth - 1, axis=1)[:, :depth], axis=1) for view in (a, b)]
    # Entries below the edge have all their equals before it, so their rank is known.
    row, column = np.nonzero((a < near[0][:, -1:]) & (b < near[1][:, -1:]))
    ranks = [
        (top[row] <= view[row, column][:, None]).sum(axis=1) for top, view in zip(near, (a, b), strict=True)
    ]
    found = np.full(len(a), a.shape[1] + 1)
    np.minimum.at(found, row, np.maximum(*ranks))
    late = found > a.shape[1]
    found[late] = np.maximum(*(rankdata(view[late], method="max", axis=1) for view in (a, b))).min(axis=1)
    return found


def _coarse(pixels: np.ndarray) -> np.ndarray:
    """Means over about 8 × 8 cells, float32 "n h w c"."""
    count, height, width, channels = pixels.shape
    high, wide = max(1, height // _CELLS), max(1, width // _CELLS)
    rows, columns = height // high, width // wide
    cells = pixels[:, : rows * high, : columns * wide].reshape(count, rows, high, columns, wide, channels)
    return cells.mean(axis=(2, 4), dtype=np.float32)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)
