"""The membership attacks that this package offers; numerics load when one is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from privagams.component import Component
from privagams_attacks.membership.settings import (
    DistanceSettings,
    DomiasSettings,
    LiraSettings,
    LossSettings,
    PiaSettings,
    RmiaSettings,
    SecmiSettings,
    SimaSettings,
)

if TYPE_CHECKING:
    from privagams.roles import Attack


def components() -> Iterator[Component[Attack]]:
    """Yield the attacks: on released images, on the model's answers, with shadow models."""
    yield Component(
        "calibrated-distance",
        "Members' images lie nearer to the release than other people's images do.",
        _calibrated_distance,
        DistanceSettings,
    )
    yield Component(
        "monte-carlo",
        "More released images lie within a small distance of members' images.",
        _monte_carlo,
        DistanceSettings,
    )
    yield Component(
        "domias",
        "The release has more density at members' images than a reference has.",
        _domias,
        DomiasSettings,
    )
    yield Component(
        "loss",
        "The model predicts members' images better, averaged over fixed noises.",
        _loss,
        LossSettings,
    )
    yield Component(
        "pia",
        "The noise prediction moves less between a member's image and its own noised version.",
        _pia,
        PiaSettings,
    )
    yield Component(
        "secmi",
        "One deterministic step up in noise and back returns nearer to where it was for members.",
        _secmi,
        SecmiSettings,
    )
    yield Component(
        "sima",
        "The model sees less noise in members' clean images; one question an image.",
        _sima,
        SimaSettings,
    )
    yield Component("likelihood", "The model gives members' images a higher exact likelihood.", _likelihood)
    yield Component(
        "lira",
        "Likelihood ratio of the loss, or distance, against shadow models with and without the patient.",
        _lira,
        LiraSettings,
    )
    yield Component(
        "rmia",
        "How many strangers a patient outranks once each is compared with shadow models.",
        _rmia,
        RmiaSettings,
    )


def _calibrated_distance(settings: DistanceSettings) -> Attack:
    from privagams_attacks.membership.calibrated_distance import CalibratedDistance

    return CalibratedDistance(settings)


def _monte_carlo(settings: DistanceSettings) -> Attack:
    from privagams_attacks.membership.monte_carlo import MonteCarlo

    return MonteCarlo(settings)


def _domias(settings: DomiasSettings) -> Attack:
    from privagams_attacks.membership.domias import Domias

    return Domias(settings)


def _loss(settings: LossSettings) -> Attack:
    from privagams_attacks.membership.loss import Loss

    return Loss(settings)


def _pia(settings: PiaSettings) -> Attack:
    from privagams_attacks.membership.pia import Pia

    return Pia(settings)


def _secmi(settings: SecmiSettings) -> Attack:
    from privagams_attacks.membership.secmi import Secmi

    return Secmi(settings)


def _sima(settings: SimaSettings) -> Attack:
    from privagams_attacks.membership.sima import Sima

    return Sima(settings)


def _likelihood(settings: None) -> Attack:
    from privagams_attacks.membership.likelihood import Likelihood

    return Likelihood()


def _lira(settings: LiraSettings) -> Attack:
    from privagams_attacks.membership.lira import Lira

    return Lira(settings)


def _rmia(settings: RmiaSettings) -> Attack:
    from privagams_attacks.membership.rmia import Rmia

    return Rmia(settings)
