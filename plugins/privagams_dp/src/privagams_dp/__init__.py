"""Privacy mechanisms for PRIVAGAMS: per-patient DP-SGD and the one-shot noisy sum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

if TYPE_CHECKING:
    from privagams.roles import Mechanism

hookimpl = pluggy.HookimplMarker("privagams")


def build_dp_sgd(settings: DpSgdSettings) -> Mechanism:
    from privagams_dp.dp_sgd import DpSgd

    return DpSgd(settings)


def build_noisy_sum(settings: NoisySumSettings) -> Mechanism:
    from privagams_dp.one_sum import OneSum

    return OneSum(settings)


@hookimpl
def privagams_mechanisms() -> Iterable[Component[Mechanism]]:
    yield Component(
        "dp-sgd",
        "Protects every training step: one clipped gradient per patient, summed, with Gaussian noise.",
        build_dp_sgd,
        DpSgdSettings,
        training="gradients",
    )
    yield Component(
        "noisy-sum",
        "Protects a one-shot generator: one clipped sum over all patients, with Gaussian noise.",
        build_noisy_sum,
        NoisySumSettings,
        training="summary",
    )
