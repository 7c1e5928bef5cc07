"""What an attack may touch: a target that refuses more than was declared, and the adversary's world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from privagams.component import Use
from privagams.errors import AccessError
from privagams.records import Records

if TYPE_CHECKING:
    from privagams.roles import Model


class Access(IntEnum):
    """How much of a release an attack needs: each level includes those before it."""

    RELEASED = 0
    """The released images."""
    QUERY = 1
    """Draw further images from the model."""
    LOSS = 2
    """The model's loss on chosen images."""
    WEIGHTS = 3
    """The model itself."""


@frozen(eq=False)
class Target:
    """A release as an attack sees it. Whom it came from is not in here: the judge holds the truth."""

    released: Records
    """Released images. `released.table` has `group` (see `groups`) and, where released, `label`."""
    granted: Access
    groups: int | None = None
    """Where a released item has one true patient (raw and randomised copies): the number of groups, one for
    each released image file; `released.table["group"]` says which. None for drawn images."""
    _model: Callable[[], Model] | None = field(default=None, alias="model")

    def model(self) -> Model:
        """The released model; needs access WEIGHTS, as do draws (QUERY) and losses (LOSS) until they differ."""
        if self.granted < Access.QUERY or self._model is None:
            raise AccessError(
                f"the attack declared access {self.granted.name.lower()!r} and asked for the model; "
                "declare a higher access, or use the released images only"
            )
        return self._model()


@frozen(eq=False)
class World:
    """What the adversary knows besides the target."""

    candidates: Records
    """Images the adversary holds of identified patients, `patient` column filled: auxiliary images of members
    and the same part of non-members'. None of them was trained on or released."""
    patients: np.ndarray
    """The candidates' patients in the order in which scores are expected, "k"."""
    reference: Records | None
    shadows: Sequence[Any]
    _features: Callable[[Use, Records], np.ndarray] = field(alias="features")

    def features(self, embedder: Use, records: Records) -> np.ndarray:
        """Feature vectors of `records`, float32 "n d", computed once a run and shared by attacks and metrics."""
        return self._features(embedder, records)


@frozen(eq=False)
class Scores:
    """An attack's output; higher means believed more, never a verdict.

    `values` is float64 "groups k" for linkage of a target with groups, else "k": one score for each of
    `World.patients`, in that order.
    """

    values: np.ndarray

    def __attrs_post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            raise ValueError(
                "scores must be finite: replace inf and nan by a number that sorts as you mean it"
            )
