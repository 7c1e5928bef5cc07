"""Linkage by eye, so to speak: whose known image correlates best with a released one, pixel by pixel?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.correlation import matched
from privagams_attacks.settings import PixelMatchingSettings


@frozen
class PixelMatching:
    """Scores are Pearson correlations of pixels: s(g, j) = mean_{r∈R} max_{c∈C} ρ(r, c).

    R: released images of group g; C: known images of patient j; ρ over all pixels and channels, each image less its
    mean. For independent noise on each pixel this is the matched filter (North 1943): what averages
    out over thousands of pixels hides nobody, however grainy the copy looks. Brightness and contrast do not count.
    Guarantee: row g depends on the images of group g alone, as the linkage bound of a randomised release
    demands (test_a_row_depends_on_its_own_group_alone).
    """

    settings: PixelMatchingSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score groups by patients; draws nothing from `rng`."""
        if target.groups is None:
            raise NotApplicable("it links copies of real images, and these images were drawn")
        return matched(target, world, _contrast, "pixel-matching")


def _contrast(records: Records) -> np.ndarray:
    flat = records.read().reshape(len(records), -1).astype(np.float64)
    centred: np.ndarray = flat - flat.mean(axis=1, keepdims=True)
    return centred
