"""What becomes of an image's label: withheld, or randomised and paid for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from attrs import frozen

from privagams.errors import ConfigError, StageError
from privagams_dp.opendp_noise import randomised_response


def protection(what: str, label_epsilon: float) -> str:
    """What a mechanism's claim covers, in words."""
    images = f"everything that the {what} of one patient's released images"
    if label_epsilon:
        return f"{images}, and their labels, add to the release; labels are randomised"
    return f"{images} add to the release; labels are withheld"


@frozen(eq=False)
class Response:
    """Randomised response over K classes (Warner 1965; Kairouz et al. 2016, arXiv 1602.07387).

    The true class with probability e^ε / (e^ε + K − 1), any other one with equal chances.

    Guarantee: one label costs `epsilon`, by OpenDP's map
    (test_labels_keep_their_class_as_often_as_randomised_response_says).
    """

    classes: int
    epsilon: float
    _draw: Callable[[int], int]

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Randomise each of int64 "n". OpenDP's bits, of the operating system's entropy; no generator of ours."""
        if len(labels) and (labels.min() < 0 or labels.max() >= self.classes):
            raise StageError(
                f"labels: expected classes 0 to {self.classes - 1}, found {labels.min()} to {labels.max()}; "
                "randomised response takes no other"
            )
        return np.array([self._draw(int(label)) for label in labels], dtype=np.int64)


def response(classes: int, epsilon: float) -> Response | None:
    """The response that costs at most `epsilon`; None, labels withheld, for an ε of 0."""
    if epsilon == 0:
        return None
    if classes < 2:
        raise ConfigError(
            f"label_epsilon: expected at least two classes to choose from, found {classes}; leave label_epsilon out"
        )
    probability = 1 / (1 + (classes - 1) * math.exp(-epsilon))
    while probability * classes > 1:
        probability = math.nextafter(probability, 0.0)  # rounded, it may be a little too large
        draw, cost = randomised_response(classes, probability)
        if cost <= epsilon:
            return Response(classes, cost, draw)
    raise ConfigError(
        f"label_epsilon: expected an ε that changes any chance, found {epsilon:g}; take a larger one"
    )
