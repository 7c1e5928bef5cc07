"""What an attack is given: the release as its declared access shows it, and the adversary's world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import field, frozen

from privagams.component import Use
from privagams.oracle import Access, Oracle
from privagams.records import Records

if TYPE_CHECKING:
    from privagams.roles import Model

__all__ = ["Access", "Holds", "Scores", "Shadow", "Target", "World"]

Holds = Literal["other images", "training images", "all images"]
"""Which images of a member the adversary holds: auxiliary ones, the very ones that were trained on or released,
or both. Of non-members it holds the corresponding ones."""


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
    _classes: tuple[str, ...] = field(default=(), alias="classes")

    @property
    def oracle(self) -> Oracle:
        """What may be asked of the model; refuses anything above the declared access."""
        return Oracle(self.granted, self._classes, self._model)


@frozen(eq=False)
class Shadow:
    """The whole release once more, made by the same recipe from another random half of the patients.

    The adversary could make it from patients of its own; here it is made from members and non-members, whose
    part in it is known. A shadow never leaves.
    """

    released: Records
    member: np.ndarray
    """Whether each of `World.patients` was trained on, bool "k". Each one is in exactly half of the shadows."""
    granted: Access
    _model: Callable[[], Model] | None = field(default=None, alias="model")
    _classes: tuple[str, ...] = field(default=(), alias="classes")

    @property
    def oracle(self) -> Oracle:
        """What may be asked of the shadow's model, by the same access as the target's."""
        return Oracle(self.granted, self._classes, self._model)


@frozen(eq=False)
class World:
    """What the adversary knows besides the target."""

    candidates: Records
    """Images the adversary holds of identified patients, `patient` column filled: of members those that the
    attack's `holds` declares, of non-members the same part. Has `label` only where the attack declares
    `labels`."""
    patients: np.ndarray
    """The candidates' patients in the order in which scores are expected, "k"."""
    reference: Records | None
    """Images of patients who are nobody's secret: neither members nor candidates."""
    shadows: Sequence[Shadow]
    _features: Callable[[Use, Records], np.ndarray] = field(alias="features")
    classes: tuple[str, ...] = ()
    """Labels from `[public]`."""

    @property
    def images(self) -> np.ndarray:
        """The candidates' image files (pseudonyms), in the order of the columns of `Scores.by_image`."""
        return np.unique(self.candidates.column("image").astype(str))

    def features(self, embedder: Use, records: Records) -> np.ndarray:
        """Feature vectors of `records`, float32 "n d", computed once a run and shared by attacks and metrics."""
        return self._features(embedder, records)


@frozen(eq=False)
class Scores:
    """An attack's output; higher means believed more, never a verdict.

    `values` is float64 "groups k" for linkage of a target with groups; "k a" for the game attribute, with one
    column for each of `options`; else "k": one score for each of `World.patients`, in that order.
    """

    values: np.ndarray
    threshold: float | None = None
    """Above it the attack calls a patient found. Set without looking at the target's members: from reference
    patients, shadows or non-identified pairs. The judge then counts calls besides ranking scores."""
    patients: np.ndarray | None = None
    """Names for the k axis, where the attack kept its own order; must be exactly `World.patients`."""
    attribute: str = ""
    """Game attribute: the column of the table that was guessed, such as "sex"."""
    options: tuple[str, ...] = ()
    """Game attribute: its possible values, in the order of the columns."""
    by_image: np.ndarray | None = None
    """Linkage of copies, where the attack compares whole images: float64 "groups m", a score for each of
    `World.images`."""

    def __attrs_post_init__(self) -> None:
        for values in (self.values, self.by_image):
            if values is not None and not np.isfinite(values).all():
                raise ValueError(
                    "scores must be finite: replace inf and nan by a number that sorts as you mean it"
                )
