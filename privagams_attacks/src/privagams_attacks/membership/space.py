"""The feature space of attacks that see released images only."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from privagams.access import Shadow, Target, World
from privagams.component import Use
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.membership.patients import distinct, positions


@frozen(eq=False)
class Space:
    """Features scaled by a rule that needs nothing of the release or of its truth.

    The rule: mean and deviation over the adversary's own images (candidates pooled without labels, and the
    reference).
    """

    world: World
    embedder: Use
    records: Records
    """The candidates' distinct images."""
    known: np.ndarray
    """Their features, float64 "n d"."""
    owner: np.ndarray
    """Position in `World.patients` of each one's patient, int64 "n"."""
    reference: np.ndarray | None
    """Features of reference images, float64 "m d"."""
    _mean: np.ndarray = field(alias="mean")
    _deviation: np.ndarray = field(alias="deviation")

    def released(self, side: Target | Shadow) -> np.ndarray:
        """Features of what the target or a shadow released, float64 "r d"."""
        if len(side.released) == 0:
            raise NotApplicable("the release has no images")
        return self.features(side.released)

    def features(self, records: Records) -> np.ndarray:
        """Features of any records, float64 "n d"."""
        found = self.world.features(self.embedder, records).astype(np.float64)
        scaled: np.ndarray = (found - self._mean) / self._deviation
        return scaled


def space_of(world: World, embedder: Use, standardise: bool, candidates: Records | None = None) -> Space:
    """Embed the adversary's own images; `candidates`: a choice of the candidates', else all that differ."""
    records = distinct(world.candidates) if candidates is None else candidates
    known = world.features(embedder, records).astype(np.float64)
    reference = None
    if world.reference is not None and len(world.reference):
        reference = world.features(embedder, world.reference).astype(np.float64)
    mean, deviation = np.zeros(known.shape[1]), np.ones(known.shape[1])
    if standardise:
        own = known if reference is None else np.concatenate([known, reference])
        mean, deviation = own.mean(axis=0), own.std(axis=0)
        deviation[deviation == 0] = 1
        reference = None if reference is None else (reference - mean) / deviation
        known = (known - mean) / deviation
    owner = positions(records, world.patients)
    return Space(world, embedder, records, known, owner, reference, mean=mean, deviation=deviation)
