"""How like its original a released copy looks: PSNR and SSIM, patient by patient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from scipy.stats import t as students

from privagams.access import World
from privagams.errors import StageError
from privagams.evidence import Measurement
from privagams.records import Records
from privagams.roles import Better

_READ = 256
_ROUNDING = 1 / 12
"""Mean squared error of rounding to 8 bits: nearer than that, two images cannot be said to differ."""
_PEAK = 255.0
CEILING = float(10 * np.log10(_PEAK**2 / _ROUNDING))
"""PSNR of an identical copy, dB: 58.9."""
_WINDOW = 11
"""Px across the Gaussian window of SSIM at its usual σ of 1.5 px, cut at 3.5 σ."""


class Psnr:
    """Peak signal-to-noise ratio 10 log₁₀(255² / MSE) in dB, MSE over pixels and channels of an 8-bit image.

    An MSE below 1/12, that of rounding to 8 bits, counts as 1/12: an identical copy has 58.9 dB, not infinity, and
    means stay means. The figure is the mean over patients of the mean over a patient's images.
    """

    better: ClassVar[Better] = "higher"

    def measure_pairs(
        self, real: Records, originals: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        """Yield `psnr`; draws nothing from `rng`."""
        values = np.concatenate([_psnr(one, other) for one, other in _pairs("psnr", originals, released)])
        note = f"dB; an identical copy has {CEILING:.1f}"
        yield _over_patients("psnr", values, originals.patient, (0.0, CEILING), note)


class Ssim:
    """Structural similarity of Wang et al. (2004), IEEE TIP 13(4): Gaussian window of σ 1.5 px, data range 255.

    Mean over channels and pixels of an image, then over a patient's images, then over patients; 1 is identical.
    """

    better: ClassVar[Better] = "higher"

    def measure_pairs(
        self, real: Records, originals: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        """Yield `ssim`; draws nothing from `rng`. Raises `StageError` for images of less than 11 px."""
        if min(originals.shape[:2]) < _WINDOW:
            raise StageError(
                f"ssim: expected images of at least {_WINDOW} px, found {originals.shape[0]} × "
                f"{originals.shape[1]}; take larger tiles, or leave this metric out"
            )
        values = np.concatenate([_ssim(one, other) for one, other in _pairs("ssim", originals, released)])
        yield _over_patients("ssim", values, originals.patient, (-1.0, 1.0), "")


def _pairs(metric: str, originals: Records, released: Records) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if len(originals) != len(released) or not len(released) or originals.shape != released.shape:
        raise StageError(
            f"{metric}: expected one original for each released image, of the same size, found {len(originals)} of "
            f"{originals.shape} for {len(released)} of {released.shape}; measure copies only"
        )
    for rows, pixels in released.batches(_READ):
        yield originals.read(rows), pixels


def _psnr(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = np.square(one.astype(np.float64) - other).mean(axis=(1, 2, 3))
    found: np.ndarray = 10 * np.log10(_PEAK**2 / np.maximum(squares, _ROUNDING))
    return found


def _ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    from skimage.metrics import structural_similarity

    return np.array(
        [
            structural_similarity(  # type: ignore[no-untyped-call]
                a, b, data_range=_PEAK, channel_axis=-1, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(one, other, strict=True)
        ]
    )  # fmt: skip


def _over_patients(
    name: str, values: np.ndarray, patient: np.ndarray, limits: tuple[float, float], note: str
) -> Measurement:
    """Mean over patients with Student's interval; all that is possible where there is one patient."""
    _, owner = np.unique(patient.astype(str), return_inverse=True)
    means = np.bincount(owner, weights=values) / np.bincount(owner)
    value, n = float(means.mean()), len(means)
    low, high = limits
    if n > 1:
        off = float(students.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n))
        low, high = max(low, value - off), min(high, value + off)
    return Measurement(name, value, min(low, value), max(high, value), n, note=note)
