"""The noise of the installed mechanisms: its size is what they claim."""

from __future__ import annotations

import math
from functools import partial

from privagams.plugins import Offer
from privagams.selftest.checks import Question, Questions

_ENTRIES = 20_000
_MULTIPLIER = 2.0
_PATIENTS = 100
_SIGMAS = 5


def noise_scale(offer: Offer) -> Questions:
    """Noise of an empty sum over multiplier × clip norm, for the first sum and the next: 1."""
    for turn, word in enumerate(("first", "second")):
        yield Question(
            f"{offer.component.name}: noise of the {word} empty sum over the noise claimed", 1.0,
            _SIGMAS / math.sqrt(2 * _ENTRIES), partial(_noise, offer, turn),
        )  # fmt: skip


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
