"""Whether scores are what was asked for, and in whose order: everything a plugin can get wrong here."""

from __future__ import annotations

import numpy as np

from privagams.access import Scores
from privagams.errors import PluginError
from privagams.judge.truth import Truth


def aligned(scores: Scores, truth: Truth, game: str = "membership", attack: str = "unnamed") -> np.ndarray:
    """The values in the order of `truth.patients`: "groups k" for linkage of copies, "k a" for attribute, else "k".

    Raises `PluginError`, which counts patients and never names them.
    """
    values = np.asarray(scores.values, dtype=np.float64)
    patients = len(truth.patients)
    axis = 0
    expected: tuple[int, ...] = (patients,)
    said = "candidate patients"
    if game == "attribute":
        _check_options(scores, attack)
        expected, said = (patients, len(scores.options)), "candidate patients by options"
    elif truth.groups is not None:
        axis, expected, said = 1, (len(truth.groups), patients), "groups by candidate patients"
    if values.shape != expected:
        raise PluginError(
            f"attack {attack!r}: expected scores of shape {expected} ({said}), found {values.shape}; "
            "give one score for each, in the order of World.patients"
        )
    for name, numbers in (("scores", values), ("scores.by_image", scores.by_image)):
        if numbers is not None and not np.isfinite(numbers).all():
            raise PluginError(
                f"attack {attack!r}: expected finite {name}, found {int((~np.isfinite(numbers)).sum())} "
                "that are not; replace inf and nan by a number that sorts as you mean it"
            )
    if scores.patients is None:
        return values
    return np.take(values, _order(scores.patients, truth.patients, attack), axis=axis)


def image_scores(scores: Scores, truth: Truth, attack: str) -> np.ndarray | None:
    """`by_image`, checked; None where the attack gave none, or nothing is known of the images."""
    if scores.by_image is None or truth.groups is None or truth.images is None:
        return None
    expected = (len(truth.groups), len(truth.images.image))
    if scores.by_image.shape != expected:
        raise PluginError(
            f"attack {attack!r}: expected scores by image of shape {expected} (groups by World.images), "
            f"found {scores.by_image.shape}; give one score for each, in the order of World.images"
        )
    return np.asarray(scores.by_image, dtype=np.float64)


def _order(found: np.ndarray, wanted: np.ndarray, attack: str) -> np.ndarray:
    names = [str(name) for name in found]
    position = {name: at for at, name in enumerate(names)}
    asked = [str(name) for name in wanted]
    unknown = len(set(names) - set(asked))
    missing = len(set(asked) - set(names))
    if unknown or missing or len(names) != len(position):
        raise PluginError(
            f"attack {attack!r}: expected scores for exactly the {len(asked)} candidate patients, found "
            f"{unknown} unknown, {missing} missing and {len(names) - len(position)} given twice; "
            "give one score for each of World.patients"
        )
    return np.array([position[name] for name in asked], dtype=np.int64)


def _check_options(scores: Scores, attack: str) -> None:
    if len(set(scores.options)) < 2 or len(set(scores.options)) != len(scores.options):
        raise PluginError(
            f"attack {attack!r}: expected at least two different options to choose from, found "
            f"{len(set(scores.options))} among {len(scores.options)}; name each possible value once"
        )
