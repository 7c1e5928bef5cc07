"""How made-up tissue is composed: two stains on an irregular piece of tissue, then light through them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privagams.demo.canvas import Canvas, Plane, step
from privagams.demo.epithelium import crowd, glands, lymphocytes, spindles
from privagams.demo.signature import Signature


def draw(
    canvas: Canvas, look: Signature, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw tissue on glass: RGB uint8 "h w 3", and where the tissue is, bool "h w"."""
    tissue = _tissue(canvas, rng)
    nests = canvas.cloud(75, rng)
    nests -= np.float32(np.quantile(nests[::4, ::4], look.stroma))
    nests[tissue == 0] = -9
    eosin, fibre_angle = _stroma(canvas, look, rng)
    haematoxylin = np.full_like(eosin, 0.03)
    nuclei, rings, lumens = canvas.blank(), canvas.blank(), canvas.blank()
    spindles(canvas, tissue, fibre_angle, rng).stamp(nuclei, canvas)
    lymphocytes(canvas, nests, rng).stamp(nuclei, canvas)
    ducts = glands(canvas, look, nests, rng)
    ducts.lay(rings, lumens, canvas)
    if look.label == "tumour":
        rings = np.maximum(rings, step(nests + np.float32(0.1) * canvas.cloud(12, rng), 0.08))
        crowded = crowd(canvas, look, nests, lumens, rng)
    # Spindles and fibres end where epithelium begins.
    nuclei *= 1 - rings
    if look.label == "tumour":
        crowded.stamp(nuclei, canvas)
    nuclei *= 1 - lumens
    ducts.nuclei(look, rng).stamp(nuclei, canvas)
    haematoxylin += np.float32(0.13) * rings
    eosin += rings * (np.float32(0.5) - eosin)
    clear = 1 - np.float32(0.94) * lumens
    eosin *= clear * (1 - np.float32(0.4) * nuclei)
    haematoxylin = haematoxylin * clear + nuclei
    return _light(haematoxylin, eosin, tissue, look, rng), tissue > 0.5


def _light(
    haematoxylin: Plane, eosin: Plane, tissue: Plane, look: Signature, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Let light through: white · exp(−Σ concentration · optical density) per colour (Beer and Lambert)."""
    grain = rng.standard_normal(tissue.shape, dtype=np.float32)
    thickness = tissue * (1 + np.float32(0.05) * grain)
    first = np.float32(-look.haematoxylin_strength) * haematoxylin * thickness
    second = np.float32(-look.eosin_strength) * eosin * thickness
    glass = np.float32(244) + np.float32(1.2) * grain[::-1, ::-1]
    image = np.empty((*tissue.shape, 3), dtype=np.uint8)
    for channel in range(3):
        density = np.float32(look.haematoxylin[channel]) * first + np.float32(look.eosin[channel]) * second
        image[..., channel] = np.clip(glass * np.exp(density, out=density), 0, 255)
    return image


def _tissue(canvas: Canvas, rng: np.random.Generator) -> Plane:
    """Share of tissue in each px: an irregular piece that leaves glass on all sides."""
    middle, half = rng.uniform(0.46, 0.54, 2), rng.uniform(0.38, 0.46, 2)
    x = ((canvas.x / canvas.width - middle[0]) / half[0]).astype(np.float32)
    y = ((canvas.y / canvas.height - middle[1]) / half[1]).astype(np.float32)
    reach = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    rough = np.float32(0.16) * canvas.cloud(110, rng) + np.float32(0.025) * canvas.cloud(14, rng)
    return step(1 - reach + rough, 0.012)


def _stroma(canvas: Canvas, look: Signature, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Wavy fibres as concentration of eosin, and their direction."""
    # A phase that smooth noise bends gives waves that never cross, as collagen's do.
    swirl = canvas.cloud(160, rng)
    bend = np.float32(0.25 * look.fibre_period) * canvas.cloud(28, rng) + np.float32(14) * swirl
    across = (
        canvas.x[None, :] * np.float32(np.cos(look.fibre_angle))
        + canvas.y[:, None] * np.float32(np.sin(look.fibre_angle))
        + bend
    )
    phase = np.float32(2 * np.pi / look.fibre_period) * across
    waves = np.sin(phase) + np.float32(0.5) * np.sin(np.float32(2.3) * phase + 1)
    eosin = np.float32(0.62) + np.float32(0.2 * look.fibre_contrast) * waves
    eosin += np.float32(0.06) * canvas.cloud(24, rng)
    turned = np.float32(look.fibre_angle + np.pi / 2) + np.float32(0.2) * swirl
    return np.clip(eosin, 0.08, None), turned
