"""Who is trained on in an audit when nobody public is at hand: invented patients, and images for canaries."""

from __future__ import annotations

import numpy as np

from privagams.records import Records
from privagams.roles import Space

_TILES = 4
_COARSE = 4


def invented_patients(space: Space, count: int, seed: int) -> Records:
    """Make smooth coloured images of `count` patients who do not exist; no data set is needed."""
    rng = np.random.default_rng([seed, 1])
    tint = rng.uniform(60, 200, (count, 1, 1, 1, space.channels))
    blocks = rng.normal(0, 40, (count, _TILES, _COARSE, _COARSE, space.channels))
    place = np.linspace(0, _COARSE - 1, space.size)
    pixels = tint + _between(_between(blocks, place, 2), place, 3)
    pixels += rng.normal(0, 8, pixels.shape)
    return _records(
        pixels.reshape(-1, *pixels.shape[2:]), space, "invented", np.repeat(np.arange(count), _TILES), rng
    )


def noise_images(space: Space, count: int, seed: int) -> Records:
    """Make `count` patients of one image each, in which every pixel is drawn at random: like nothing else."""
    rng = np.random.default_rng([seed, 2])
    pixels = rng.uniform(0, 255, (count, space.size, space.size, space.channels))
    return _records(pixels, space, "canary", np.arange(count), rng)


def joined(first: Records, second: Records) -> Records:
    """Both, in memory, with the columns that training needs."""
    table = {
        name: np.concatenate([first.column(name).astype(str), second.column(name).astype(str)])
        for name in ("patient", "label")
    }
    return Records(np.concatenate([first.read(), second.read()]), table)


def _records(
    pixels: np.ndarray, space: Space, word: str, patient: np.ndarray, rng: np.random.Generator
) -> Records:
    of_patient = rng.choice(space.classes or ("",), int(patient.max(initial=0)) + 1)
    table = {"patient": np.array([f"{word}-{i:05d}" for i in patient]), "label": of_patient[patient]}
    return Records(np.clip(pixels, 0, 255).astype(np.uint8), table)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis."""
    left = np.clip(places.astype(int), 0, values.shape[axis] - 2)
    share = (places - left).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.asarray(np.take(values, left, axis) * (1 - share) + np.take(values, left + 1, axis) * share)
