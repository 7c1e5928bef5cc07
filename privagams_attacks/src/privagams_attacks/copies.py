"""Extraction: whose images come out of a release, nearly pixel by pixel?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.likeness import Likeness, correlation_features, shifted_pixels
from privagams_attacks.patients import owners
from privagams_attacks.settings import CopiesSettings

_CLEARLY = 0.5
"""A patient twice as far from a released image as another is no rival for it."""


@frozen
class Copies:
    """A released image r is a copy of patient j's if l(r, j) < δ, and r is not as near to many others.

    l(r, j): the least distance between r and an image of j, either √(2 − 2ρ) with ρ the correlation of features
    (`features`), or √mean (a − b)² of pixels in [0, 1] at the best of small shifts (`pixels`).
    δ: real images tell it. For each patient of the reference, or of the candidates where there is no reference,
    the least distance between an image of this patient and one of another; δ is the 5 % quantile of these
    (`tail`). Dar et al. (2024), arXiv 2402.01054, take the quantile over images; over patients, one of
    them in twenty is called by chance however many images each has.
    k: after (k, l, δ)-eidetic memorisation (Carlini et al. 2023, arXiv 2301.13188). r is nobody's if more than
    k patients lie within δ and less than twice as far from it as j. Patients are counted, not images: several
    like images of one patient make a leak no smaller. A verbatim copy is found however alike others look.
    Score of a patient: the largest margin δ − l(r, j) over released images r that are not nobody's; the
    threshold is 0. Chance finds non-members too: only the excess over them is leakage.
    """

    settings: CopiesSettings
    game: ClassVar[Game] = "extraction"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0
    holds: ClassVar[Holds] = "training images"

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score candidate patients, for copies and drawn images alike; draws nothing from `rng`."""
        owner, count = owners(world, "copies"), len(world.patients)
        known = self._likeness(world, world.candidates)
        delta = self._threshold(world, known, owner)
        best = np.full(count, -np.inf)
        for distances in self._likeness(world, target.released).to_owners(known, owner):
            best = np.maximum(best, _margins(distances, delta, self.settings.k).max(axis=0))
        return Scores(best, threshold=0.0)

    def _likeness(self, world: World, records: Records) -> Likeness:
        if self.settings.detector == "features":
            return correlation_features(world.features(self.settings.embedder, records))
        return shifted_pixels(records, self.settings.side, self.settings.shift)

    def _threshold(self, world: World, known: Likeness, owner: np.ndarray) -> float:
        """δ, from real images of different patients."""
        if world.reference is not None and len(world.reference.patients) > 1:
            known = self._likeness(world, world.reference)
            owner = np.unique(world.reference.patient.astype(str), return_inverse=True)[1]
        if owner.max() == 0:
            raise NotApplicable(
                "how alike images of different patients are is not known: there is one patient only"
            )
        nearest = np.full(owner.max() + 1, np.inf)
        start = 0
        for distances in known.to_owners(known, owner):
            rows = owner[start : start + len(distances)]
            start += len(distances)
            distances[np.arange(len(rows)), rows] = np.inf
            np.minimum.at(nearest, rows, distances.min(axis=1))
        return float(np.quantile(nearest, self.settings.tail))


def _margins(distances: np.ndarray, delta: float, k: int) -> np.ndarray:
    """δ − l of released images by patients; at most 0 where more than k patients are about as near."""
    margins = delta - distances
    for row in np.flatnonzero((margins > 0).any(axis=1)):
        near = np.flatnonzero(margins[row] > 0)
        own = distances[row, near]
        # Sorted, the rivals of each are those up to twice its distance.
        rivals = np.searchsorted(np.sort(own), own / _CLEARLY, side="right")
        margins[row, near[rivals > k]] = 0
    return margins
