"""Which classical statistics of colour and texture stand for an image, and on which fixed scale."""

from __future__ import annotations

import numpy as np

from privagams.errors import StageError

CHUNK_BYTES = 2**18
"""Pixels worked on at once: about what stays in a core's cache."""
SCALES = 3
BINS = 8
SMALLEST = 16

# Ruifrok and Johnston (2001): optical density of haematoxylin, eosin and DAB in red, green, blue.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)).astype(np.float32)
_DENSITY = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)
_UNIT = (np.arange(256) / 255).astype(np.float32)
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_QUIET = 1 / 255
"""Differences of less than one grey level count as none."""

# Centre and scale of each kind of number. Rounded from public H&E tiles at 0.25 to 0.5 µm per px and chest
# X-rays of 32 to 64 px, so that each number there spreads by about a half and none outweighs the others:
# x·y/d, on which KID's kernel rests, then stays of the order of 1.
_BRIGHTNESS = np.array([[0.6, 0.15, 0.0], [0.2, 0.1, 0.2]], dtype=np.float32)
_STAIN = np.array([[0.2, 0.1, 0.1], [0.2, 0.12, 0.2]], dtype=np.float32)
_SHARE = (0.3, 0.3)
_PATTERN = (0.3, 0.1)
_ENERGY = (-3.0, 0.6)
_STAIN_RANGES = ((-0.1, 1.1), (-0.05, 0.35), (0.0, 0.5))


class Texture:
    """Moments, histograms, local binary patterns and wavelet energies of stains and brightness.

    Every number is centred and divided by a constant written in this file, never by anything of the images at
    hand: distances mean the same in every run, and row i depends on image i only.
    Local binary patterns: Ojala et al. (2002), rotation-invariant and uniform, 8 neighbours, at three scales.
    """

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 "n h w c", c of 1 or 3, h and w of at least 16 px, to float32 "n d"."""
        _check(pixels)
        height, width, channels = pixels.shape[1:]
        size = max(1, CHUNK_BYTES // (height * width * channels))
        parts = [_embed(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        if not parts:
            return _embed(np.zeros((1, height, width, channels), dtype=np.uint8))[:0]
        return np.concatenate(parts)


def _check(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise StageError(
            'texture: expected pixels uint8 "n h w c" with c of 1 or 3, '
            f"found {pixels.dtype} {pixels.shape}; convert them first"
        )
    if min(pixels.shape[1:3]) < SMALLEST:
        raise StageError(
            f"texture: expected images of at least {SMALLEST} px, found {pixels.shape[1]} × "
            f"{pixels.shape[2]}; take larger tiles, or another embedder"
        )


def _embed(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[3] == 1:
        bright = _UNIT[pixels[..., 0]]
        groups = [_moments(bright, _BRIGHTNESS), _histogram(bright, 0.0, 1.0), *_textures(bright, [bright])]
        return np.concatenate(groups, axis=1)
    red, green, blue = colours = [_UNIT[pixels[..., c]] for c in range(3)]
    bright = _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    stains = _stains(pixels)
    groups = []
    for plane in colours:
        groups.append(_moments(plane, _BRIGHTNESS))
    for plane, (low, high) in zip(stains, _STAIN_RANGES, strict=True):
        groups += [_moments(plane, _STAIN), _histogram(plane, low, high)]
    groups += _textures(bright, [bright, *stains[:2]])
    return np.concatenate(groups, axis=1)


def _stains(pixels: np.ndarray) -> list[np.ndarray]:
    """Amounts of haematoxylin, eosin and the rest, by the fixed matrix above."""
    # Sums written out: a matrix product may round a row differently depending on how many rows there are.
    red, green, blue = (_DENSITY[pixels[..., c]] for c in range(3))
    return [_UNMIX[0, k] * red + _UNMIX[1, k] * green + _UNMIX[2, k] * blue for k in range(3)]


def _moments(plane: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and cube root of the third moment of each image."""
    flat = plane.reshape(len(plane), -1)
    mean = flat.mean(axis=1, keepdims=True)
    off = flat - mean
    squared = off * off
    spread = np.sqrt(squared.mean(axis=1, keepdims=True))
    lean = np.cbrt((squared * off).mean(axis=1, keepdims=True))
    return (np.concatenate([mean, spread, lean], axis=1) - usual[0]) / usual[1]


def _histogram(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Square roots of the shares of pixels in equal bins; what lies outside counts to the outermost."""
    bins = ((plane - low) * (BINS / (high - low))).clip(0, BINS - 1).astype(np.intp)
    return _root_shares(bins, BINS, _SHARE)


def _textures(bright: np.ndarray, planes: list[np.ndarray]) -> list[np.ndarray]:
    groups = []
    for _ in range(SCALES):
        groups.append(_root_shares(_PATTERNS[_codes(bright)], 10, _PATTERN))
        halved = []
        for plane in planes:
            smaller, energies = _haar(plane)
            halved.append(smaller)
            groups.append(energies)
        bright, planes = halved[0], halved
    return groups


def _root_shares(bins: np.ndarray, count: int, usual: tuple[float, float]) -> np.ndarray:
    """Square roots tame the heavy bins: their Euclidean distance is Hellinger's."""
    flat = bins.reshape(len(bins), -1)
    rows = np.arange(len(bins))[:, None] * count
    found = np.bincount((flat + rows).ravel(), minlength=len(bins) * count).reshape(len(bins), count)
    return ((np.sqrt(found / flat.shape[1]) - usual[0]) / usual[1]).astype(np.float32)


def _codes(plane: np.ndarray) -> np.ndarray:
    """Which of the eight neighbours are at least as bright, one bit each, going round."""
    centre = plane[:, 1:-1, 1:-1]
    height, width = plane.shape[1] - 2, plane.shape[2] - 2
    code = np.zeros(centre.shape, dtype=np.uint8)
    for bit, (y, x) in enumerate([(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]):
        code |= (plane[:, y : y + height, x : x + width] >= centre).view(np.uint8) << bit
    return code


def _uniform_patterns() -> np.ndarray:
    """Table from code to pattern: number of bits set where they stand together, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9).astype(np.intp)


_PATTERNS = _uniform_patterns()


def _haar(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plane at half the size, and the log of its three details' strength."""
    height, width = plane.shape[1] // 2 * 2, plane.shape[2] // 2 * 2
    a, b = plane[:, :height:2, :width:2], plane[:, :height:2, 1:width:2]
    c, d = plane[:, 1:height:2, :width:2], plane[:, 1:height:2, 1:width:2]
    top, bottom, left, right = a + b, c + d, a - b, c - d
    details = (top - bottom, left + right, left - right)
    strength = [(x * x).reshape(len(plane), -1).mean(axis=1) / 4 for x in details]
    energies = np.log(np.sqrt(np.stack(strength, axis=1)) + _QUIET)
    return (top + bottom) / 4, (energies - _ENERGY[0]) / _ENERGY[1]
