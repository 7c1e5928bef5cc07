"""Privacy mechanisms for PRIVAGAMS: per-patient DP-SGD, the one-shot noisy sum, and local ones for single images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_dp.local_settings import (
    LatentGaussianSettings,
    LatentLaplaceSettings,
    LatentTopkSettings,
    PixelLaplaceSettings,
)
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

if TYPE_CHECKING:
    from privagams.roles import LocalMechanism, Mechanism

hookimpl = pluggy.HookimplMarker("privagams")


def build_dp_sgd(settings: DpSgdSettings) -> Mechanism:
    from privagams_dp.dp_sgd import DpSgd

    return DpSgd(settings)


def build_noisy_sum(settings: NoisySumSettings) -> Mechanism:
    from privagams_dp.one_sum import OneSum

    return OneSum(settings)


def build_latent_laplace(settings: LatentLaplaceSettings) -> LocalMechanism:
    from privagams_dp.latent_laplace import LatentLaplace

    return LatentLaplace(settings)


def build_latent_gaussian(settings: LatentGaussianSettings) -> LocalMechanism:
    from privagams_dp.latent_gaussian import LatentGaussian

    return LatentGaussian(settings)


def build_latent_topk(settings: LatentTopkSettings) -> LocalMechanism:
    from privagams_dp.latent_topk import LatentTopk

    return LatentTopk(settings)


def build_pixel_laplace(settings: PixelLaplaceSettings) -> LocalMechanism:
    from privagams_dp.pixel_laplace import PixelLaplace

    return PixelLaplace(settings)


@hookimpl
def privagams_mechanisms() -> Iterable[Component[Mechanism | LocalMechanism]]:
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
    yield Component(
        "latent-laplace",
        "Randomises each image by Laplace noise on every coordinate of its clipped latent vector.",
        build_latent_laplace,
        LatentLaplaceSettings,
        randomises="latents",
    )
    yield Component(
        "latent-gaussian",
        "Randomises each image by Gaussian noise on its latent vector, bounded as a whole.",
        build_latent_gaussian,
        LatentGaussianSettings,
        randomises="latents",
    )
    yield Component(
        "latent-topk",
        "Randomises the few latent coordinates that shape an image most, and draws all others anew.",
        build_latent_topk,
        LatentTopkSettings,
        randomises="latents",
    )
    yield Component(
        "pixel-laplace",
        "Randomises each image by Laplace noise on its pixels: the baseline for the latent ones.",
        build_pixel_laplace,
        PixelLaplaceSettings,
        randomises="pixels",
    )
