"""How to have the demo cohort's tiles without files: for tuning, tests, and as a public development set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privagams.demo.canvas import Canvas, averaged
from privagams.demo.drawing import draw
from privagams.demo.signature import CLASSES, cut, signature

_OVERSAMPLING = 2
"""Tiles are drawn at half their mpp and averaged, as a scanner's pyramid is."""


def render_slide(
    patient: int, slide: int, mpp: float, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw slide number `slide` of a patient at `mpp` µm/px: RGB uint8 "h w 3" and its tissue, bool "h w"."""
    rng = np.random.default_rng([seed, patient, 1 + slide, 1])
    width, height = (float(side) for side in rng.choice([448.0, 512.0], 2))
    return draw(Canvas(width, height, mpp), cut(patient, slide, seed), rng)


def render_tiles(
    patients: Sequence[int], tiles_each: int, size: int, seed: int = 0, mpp: float = 2.0, slide: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Draw tiles of `size` px at `mpp` from one slide of each patient.

    Returns pixels uint8 "n h w 3", the patient number of each tile, and its class as an index into `CLASSES`;
    n = `tiles_each` · patients. Tiles lie at random places with at least half tissue, and may overlap.
    """
    drawn = [_patient_tiles(patient, tiles_each, size, seed, mpp, slide) for patient in patients]
    labels = [CLASSES.index(signature(patient, seed).label) for patient in patients]
    owners = np.repeat(np.asarray(patients, dtype=np.int64), tiles_each)
    return np.concatenate(drawn), owners, np.repeat(np.asarray(labels, dtype=np.int64), tiles_each)


def _patient_tiles(
    patient: int, count: int, size: int, seed: int, mpp: float, slide: int
) -> NDArray[np.uint8]:
    fine, tissue = render_slide(patient, slide, mpp / _OVERSAMPLING, seed)
    image = averaged(fine, _OVERSAMPLING)
    share = averaged(255 * tissue[..., None].astype(np.uint8), _OVERSAMPLING)[..., 0] / 255
    # Sums over windows of size × size, from the corner sums of a summed-area table.
    area = np.pad(share.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    window = area[size:, size:] - area[:-size, size:] - area[size:, :-size] + area[:-size, :-size]
    corners = np.argwhere(window >= 0.5 * size**2)
    rng = np.random.default_rng([seed, patient, 1 + slide, 2])
    chosen = corners[rng.integers(len(corners), size=count)]
    return np.stack([image[y : y + size, x : x + size] for y, x in chosen])
