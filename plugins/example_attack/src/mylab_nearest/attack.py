"""The attack: whoever's known images come nearest to a released one is believed to be behind it."""

import numpy as np

from privagams.access import Access, Scores, Target, World


class Nearest:
    """Scores are negated distances between coarse colours: higher is believed more."""

    game, access, shadows = "linkage", Access.RELEASED, 0
    holds, labels = "other images", False

    def __init__(self, cells: int) -> None:
        self.cells = cells

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        released, known = self.colours(target.released.read()), self.colours(world.candidates.read())
        gaps = np.stack([np.linalg.norm(released - image, axis=1) for image in known])  # "known released"
        owner = world.candidates.patient
        nearest = np.stack([gaps[owner == p].min(axis=0) for p in world.patients])  # "patients released"
        if target.groups is None:  # drawn images: nobody's in particular, so one score for each patient
            return Scores(-nearest.min(axis=1))
        group = target.released.table["group"]  # copies: each group of images has one true patient
        return Scores(-np.stack([nearest[:, group == g].mean(axis=1) for g in range(target.groups)]))

    def colours(self, pixels: np.ndarray) -> np.ndarray:
        """Mean colour of each of cells × cells parts, float64 "n d"."""
        n, size, _, channels = pixels.shape
        side = size // self.cells
        cut = pixels[:, : side * self.cells, : side * self.cells]
        parts = cut.reshape(n, self.cells, side, self.cells, side, channels)
        return parts.mean(axis=(2, 4)).reshape(n, -1)
