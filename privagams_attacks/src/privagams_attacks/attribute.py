"""Inference: what does a release tell about a patient that the adversary did not know?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.attributes import age_group
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams.roles import Game
from privagams_attacks.matching import standardised
from privagams_attacks.nearest import nearest_distance
from privagams_attacks.patients import mean_by, owners
from privagams_attacks.settings import AttributeSettings

_LEAST = 1e-300


@frozen
class Attribute:
    """Guesses an attribute of each candidate from the candidate's images, by what the release shows.

    Where released images carry the attribute, a rule learnt from them: `nearest`, s(x, a) = −(distance of image
    x to the nearest released image with value a); `logistic`, s(x, a) = ln p(a | x) of a logistic regression.
    Where they do not but the reference has it, the rule learnt from the reference first names the released images
    (model-based inference); what the release then adds to the reference is for the comparison to say.
    A patient's score is the mean over his or her images.
    Guarantee: the candidates' own attribute is never read (test_the_candidates_own_attribute_is_never_read).

    The control is non-members, whose images the release never saw: an attribute that is plain to see in any
    image is guessed for them as well. Only what is guessed better for members was given away by the release
    (Giomi et al. 2023, PoPETs, arXiv 2211.10459), so no second training without the target patients is needed.
    """

    settings: AttributeSettings
    game: ClassVar[Game] = "attribute"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0
    holds: ClassVar[Holds] = "training images"

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score patients by options, float64 "k a"; draws nothing from `rng`."""
        name, embedder = self.settings.attribute, self.settings.embedder
        owner = owners(world, "attribute")
        reference = world.candidates.take(np.arange(0)) if world.reference is None else world.reference
        records = (world.candidates, target.released, reference)
        known, released, public = standardised(*(world.features(embedder, r) for r in records))
        values = values_of(target.released, name)
        if (values == "").all():
            values = self._named_by_reference(public, values_of(reference, name), released)
        options, scores = self._learn(released, values, known)
        by_patient = [mean_by(column, owner, len(world.patients)) for column in scores.T]
        return Scores(np.stack(by_patient, axis=1), attribute=name, options=options)

    def _named_by_reference(self, public: np.ndarray, values: np.ndarray, released: np.ndarray) -> np.ndarray:
        """Values of released images as the reference lets one guess them, text "n"."""
        if len(np.unique(values[values != ""])) < 2:
            raise NotApplicable(
                f"neither released images nor reference patients have different values of "
                f"{self.settings.attribute!r}"
            )
        options, scores = self._learn(public, values, released)
        return np.array(options)[scores.argmax(axis=1)]

    def _learn(
        self, shown: np.ndarray, values: np.ndarray, asked: np.ndarray
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Options, and scores float64 "n options" of the images `asked`."""
        shown, values = shown[values != ""], values[values != ""]
        options = np.unique(values)
        if len(options) < 2:
            raise NotApplicable(
                f"its images show {len(options)} value of {self.settings.attribute!r}; a guess takes two or more"
            )
        if self.settings.classifier == "nearest":
            scores = np.stack([-nearest_distance(asked, shown[values == a]) for a in options], axis=1)
        else:
            from sklearn.linear_model import LogisticRegression

            chances = LogisticRegression(max_iter=1000).fit(shown, values).predict_proba(asked)
            scores = np.log(np.maximum(chances, _LEAST))
        return tuple(str(a) for a in options), scores


def values_of(records: Records, name: str) -> np.ndarray:
    """The attribute of each record, text "n", empty where unknown; ages in years become groups of 20."""
    values = records.column(name).astype(str)
    return np.array([age_group(v) for v in values], dtype=str) if name == "age" else values
