"""Linkage by distance: whose known images lie nearest to a released one?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.matching import distance_to_owners, nearness_of_drawn, standardised
from privagams_attacks.patients import groups_of, image_files, owners
from privagams_attacks.settings import NearestPatientSettings


@frozen
class NearestPatient:
    """Scores are negated distances in the features of an embedder, d.

    Copies (group g of released images R, candidate patient j with images C):
    s(g, j) = −mean_{r∈R} min_{c∈C} d(r, c). A patient of whom more images are known is nearer by luck;
    averaging with the other direction takes that away, and links fewer patients of X-rays and of slides.
    Guarantee: row g depends on the images of group g alone, as the linkage bound of a randomised release
    demands (test_a_row_depends_on_its_own_group_alone).
    Drawn images R: s(j) = −mean_{c∈C} (min_{r∈R} d(c, r) − min_{o∈O} d(c, o)), O the known images of all
    other patients; without `calibrated` the second term is left out, and looking ordinary helps.
    With `gallery = "all images"` the adversary also holds the very images that were released or trained on:
    the worst case, which for drawn images is the way from a synthetic tile back to its source patient.
    `"other images"` leaves these sources out.
    After GAN-Leaks (Chen et al. 2020, arXiv 1909.03935), with −d where it has exp(−d²), which underflows.
    """

    settings: NearestPatientSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score groups by patients for copies, patients for drawn images; draws nothing from `rng`."""
        released = world.features(self.settings.embedder, target.released)
        known = world.features(self.settings.embedder, world.candidates)
        if self.settings.standardise:
            known, released = standardised(known, released)
        owner = owners(world, "nearest-patient")
        if target.groups is None:
            return Scores(
                nearness_of_drawn(released, known, owner, len(world.patients), self.settings.calibrated)
            )
        group, files = groups_of(target, "nearest-patient"), image_files(world)
        values = -distance_to_owners(released, group, target.groups, known, owner)
        if files is None:
            return Scores(values)
        return Scores(values, by_image=-distance_to_owners(released, group, target.groups, known, files))
