"""A local mechanism bound to vectors of one size for its audit, with what it says that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

from privagams.audit.canaries import CanaryScores, sorted_by_score
from privagams.errors import ConfigError, PluginError
from privagams.ledger import accounting
from privagams.ledger.accounting import Claim
from privagams.ledger.events import local
from privagams.roles import Coordinates, LocalMechanism, Randomiser

_MOST = float(np.finfo(np.float32).max)


@frozen(eq=False)
class LocalCanaries:
    """Canaries of one kind, with the claim for vectors of their size, and the same at a much smaller δ."""

    found: CanaryScores
    claim: Claim
    tight: Claim

    def to_facts(self) -> dict[str, Any]:
        return {
            **sorted_by_score(self.found), "epsilon": self.claim.epsilon, "delta": self.claim.delta,
            "gate_epsilon": self.tight.epsilon, "gate_delta": self.tight.delta,
        }  # fmt: skip


@frozen(eq=False)
class BoundMechanism:
    """A randomiser, the number of images that it was bound to, and the claim that its event makes for all of them."""

    randomiser: Randomiser
    size: int
    images: int
    claim: Claim
    tight: Claim

    def rows(self, vectors: np.ndarray) -> np.ndarray:
        """Randomise "n d"; what is not finite in the result counts as far out."""
        found = self.randomiser.randomise(vectors)
        if found.shape != vectors.shape:
            raise PluginError(
                f"randomise: expected {vectors.shape} values as were given, found {found.shape}; this is the "
                "mechanism's fault"
            )
        return np.nan_to_num(np.asarray(found, dtype=np.float64), nan=_MOST, posinf=_MOST, neginf=-_MOST)

    def released(self, vector: np.ndarray) -> np.ndarray:
        """The mean of what is released of a patient all of whose images have this vector, float64 "d"."""
        return np.asarray(self.rows(np.repeat(vector[None], self.images, axis=0)).mean(axis=0))

    def canaries(
        self, kind: str, what: str, scores: Sequence[float] | np.ndarray, coins: np.ndarray
    ) -> LocalCanaries:
        return LocalCanaries(
            CanaryScores(kind, what, np.asarray(scores, float), coins), self.claim, self.tight
        )


def bind(
    mechanism: LocalMechanism,
    coordinates: Coordinates,
    classes: int,
    images: int,
    deltas: tuple[float, float],
) -> BoundMechanism:
    """Bind and price; raises what the mechanism raises for a size that it does not take."""
    from dp_accounting import SelfComposedDpEvent

    made = mechanism.randomiser(coordinates, classes, images)
    event = local(SelfComposedDpEvent(made.event, images))
    claim, tight = (
        accounting.claim(
            [event], delta, protects=mechanism.protects, per_element_epsilon=made.per_element_epsilon
        )
        for delta in deltas
    )
    return BoundMechanism(made, coordinates.size, images, claim, tight)


def smallest(
    mechanism: LocalMechanism, least: int, most: int, classes: int, images: int, deltas: tuple[float, float]
) -> BoundMechanism:
    """Bound to the fewest entries that it takes: `least`, or twice, four times, … as many, up to `most`."""
    size = least
    while True:
        try:
            return bind(mechanism, Coordinates(size, np.arange), classes, images, deltas)
        except ConfigError:
            if size >= most:
                raise
            size = min(2 * size, most)
