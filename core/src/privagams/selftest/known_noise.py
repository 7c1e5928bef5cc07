"""The noise of the installed mechanisms: its size is what they claim, or enough for the ε they claim."""

from __future__ import annotations

import math
from functools import partial

from privagams.plugins import Offer
from privagams.selftest.checks import Question, Questions

_ENTRIES = 20_000
_MULTIPLIER = 2.0
_PATIENTS = 100
_SIGMAS = 5
_COINS = 2000


def noise_scale(offer: Offer) -> Questions:
    """Noise of an empty sum over multiplier × clip norm, for the first sum and the next: 1."""
    for turn, word in enumerate(("first", "second")):
        yield Question(
            f"{offer.component.name}: noise of the {word} empty sum over the noise claimed", 1.0,
            _SIGMAS / math.sqrt(2 * _ENTRIES), partial(_noise, offer, turn),
        )  # fmt: skip


def local_guesses(offer: Offer) -> Questions:
    """How far right guesses about a randomised image exceed what ε = 1 allows, (e^ε + δ)/(1 + e^ε): not at all.

    Which of two images farthest apart was randomised, a fair coin each time, is guessed by the sign of the sum.
    """
    yield Question(
        f"{offer.component.name}: right guesses between two images, beyond what ε = 1 allows", 0.0,
        _SIGMAS * 0.5 / math.sqrt(_COINS), partial(_guesses, offer),
    )  # fmt: skip


def _guesses(offer: Offer) -> float:
    import numpy as np

    from privagams.coordinates import pixel_coordinates
    from privagams.roles import Space
    from privagams.testing.subject import Subject, usable_settings

    component = offer.component
    settings = usable_settings(offer.role, component, {"epsilon": 1.0})
    mechanism = Subject(offer.role, component, settings).build()
    space = Space(8, 1)
    randomiser = mechanism.randomiser(pixel_coordinates(space), 0, 1)
    coins = np.random.default_rng().choice([-1.0, 1.0], _COINS)
    answers = randomiser.randomise(np.outer(coins, np.full(space.size**2, 1e3))).sum(axis=1)
    right = float((np.sign(answers) == coins).mean())
    cap = (math.exp(1.0) + float(settings.get("delta") or 0.0)) / (1 + math.exp(1.0))
    return max(0.0, right - cap)


def _noise(offer: Offer, turn: int) -> float:
    import torch

    from privagams.testing.subject import Subject, usable_settings

    component = offer.component
    mechanism = Subject(offer.role, component, usable_settings(offer.role, component, {})).build()
    door = mechanism.noisy_sum([torch.zeros(_ENTRIES)], _MULTIPLIER, _PATIENTS)
    for _ in range(turn):
        door.release()
    (found,) = door.release()
    return float(found.double().square().mean().sqrt() / (_MULTIPLIER * mechanism.clip_norm))
