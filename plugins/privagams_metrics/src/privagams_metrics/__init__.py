"""Embedders and utility metrics for PRIVAGAMS; importing this loads neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from privagams import Component, hookimpl
from privagams_metrics.settings import (
    DownstreamSettings,
    KidSettings,
    PathologyAucSettings,
    WeightsSettings,
)

if TYPE_CHECKING:
    from privagams.roles import Embedder, Metric, PairedMetric

__all__ = [
    "DownstreamSettings",
    "KidSettings",
    "PathologyAucSettings",
    "WeightsSettings",
    "privagams_embedders",
    "privagams_metrics",
]


def build_texture(_: None) -> Embedder:
    from privagams_metrics.texture import Texture

    return Texture()


def build_weights(settings: WeightsSettings) -> Embedder:
    from privagams_metrics.weights import Weights

    return Weights(settings)


def build_kid(settings: KidSettings) -> Metric:
    from privagams_metrics.kid import Kid

    return Kid(settings)


def build_downstream(settings: DownstreamSettings) -> Metric:
    from privagams_metrics.downstream import DownstreamAccuracy

    return DownstreamAccuracy(settings)


def build_psnr(_: None) -> PairedMetric:
    from privagams_metrics.likeness import Psnr

    return Psnr()


def build_ssim(_: None) -> PairedMetric:
    from privagams_metrics.likeness import Ssim

    return Ssim()


def build_pathology_auc(settings: PathologyAucSettings) -> PairedMetric:
    from privagams_metrics.pathology_auc import PathologyAuc

    return PathologyAuc(settings)


@hookimpl
def privagams_embedders() -> Iterable[Component[Embedder]]:
    yield Component(
        name="texture",
        summary="Colour and texture statistics at three scales; needs no weights.",
        build=build_texture,
    )
    yield Component(
        name="weights",
        summary="Any timm model, with weights from a local safetensors file.",
        build=build_weights,
        settings=WeightsSettings,
    )


@hookimpl
def privagams_metrics() -> Iterable[Component[Metric] | Component[PairedMetric]]:
    yield Component(
        name="kid",
        summary="Distance between released and real images in an embedder's features (unbiased MMD²).",
        build=build_kid,
        settings=KidSettings,
    )
    yield Component(
        name="downstream-accuracy",
        summary="Train a small classifier on the release, test it on real images of non-members.",
        build=build_downstream,
        settings=DownstreamSettings,
    )
    yield Component(
        name="psnr",
        summary="How near copies are to their originals, pixel by pixel (peak signal-to-noise ratio, dB).",
        build=build_psnr,
    )
    yield Component(
        name="ssim",
        summary="How like their originals copies look (structural similarity).",
        build=build_ssim,
    )
    yield Component(
        name="pathology-auc",
        summary="Whether a classifier still tells disease on copies, or learns from them to tell it.",
        build=build_pathology_auc,
        settings=PathologyAucSettings,
    )
