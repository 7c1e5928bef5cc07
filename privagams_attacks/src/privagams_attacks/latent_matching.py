"""Linkage through the release's own flow: whose known image has the latent vector most like a released one's?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import evolve, frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.correlation import matched
from privagams_attacks.settings import LatentMatchingSettings

if TYPE_CHECKING:
    from privagams.roles import Batch, Invertible


@frozen
class LatentMatching:
    """Scores are cosines of latent vectors: s(g, j) = mean_{r∈R} max_{c∈C} ⟨f(r), f(c)⟩ / (‖f(r)‖ ‖f(c)‖).

    R: released images of group g; C: known images of patient j; f: the flow behind the release, whitened, which
    took part in making the copies and leaves with them, or is fitted to public images that anybody has. Local
    mechanisms state their noise openly: it is of equal size on every coordinate and independent of the image, so
    that the correlation with the known vector is the matched filter (North 1943), the best linear test, and
    independent of shrinkage. Of d coordinates with Laplace noise b it links half of N candidates' copies where
    √(d / (1 + 2b²)) = √(2 ln N). Vectors are cut at ± `clip`: a few coordinates that a noised image sends far
    out would outweigh all others. The class is never told to f: of a copy it may be randomised.
    `coordinates` compares the coarsest ones only, which images of one patient share most.
    Guarantee: row g depends on the images of group g alone, as the linkage bound of a randomised release
    demands (test_a_row_depends_on_its_own_group_alone).
    """

    settings: LatentMatchingSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.WEIGHTS
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score groups by patients; draws nothing from `rng`."""
        from privagams.roles import Invertible

        if target.groups is None:
            raise NotApplicable("it links copies of real images, and these images were drawn")
        oracle = target.oracle
        model = oracle.model()
        if not isinstance(model, Invertible):
            raise NotApplicable("the model behind this release gives no latent vectors")
        flow: Invertible = model

        def vectors(records: Records) -> np.ndarray:
            parts = [self._encoded(flow, batch) for _, batch in oracle.batches(evolve(records, table={}))]
            return np.concatenate(parts)

        return matched(target, world, vectors, "latent-matching")

    def _encoded(self, flow: Invertible, batch: Batch) -> np.ndarray:
        import torch

        with torch.no_grad():
            latents = flow.encode(batch)
        kept: np.ndarray = latents[:, : self.settings.coordinates].double().numpy()
        return np.clip(kept, -self.settings.clip, self.settings.clip)
