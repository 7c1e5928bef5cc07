"""What makes each made-up patient recognisable: the known truth behind the demo cohort."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import evolve, frozen

Label = Literal["benign", "tumour"]
CLASSES: tuple[Label, Label] = ("benign", "tumour")

# Optical densities of haematoxylin and eosin in red, green and blue; Macenko et al. (2009), ISBI.
_HAEMATOXYLIN = (0.5626, 0.7201, 0.4062)
_EOSIN = (0.2159, 0.8012, 0.5581)


@frozen
class Signature:
    """Stain and texture of one patient. Lengths in µm, angles in rad, optical densities to base e."""

    label: Label
    haematoxylin: tuple[float, float, float]
    """Unit vector of optical density in red, green and blue."""
    eosin: tuple[float, float, float]
    haematoxylin_strength: float
    eosin_strength: float
    gland_radius: float
    nuclear_radius: float
    nuclear_spacing: float
    """Distance between neighbouring nuclei: along the ring of a gland, or within a tumour nest."""
    nuclear_elongation: float
    """Long axis over short axis."""
    fibre_period: float
    fibre_angle: float
    fibre_contrast: float
    stroma: float
    """Share of the tissue without epithelium, 0 to 1."""
    atypia: float
    """Disorder of nuclei and glands: 0 to 0.4 in benign tissue, 0.45 to 1 in tumours."""


def signature(patient: int, seed: int = 0) -> Signature:
    """State patient number `patient`'s truth; it depends on `(seed, patient)` alone."""
    rng = np.random.default_rng([seed, patient])
    tumour = bool(rng.random() < 0.5)
    atypia = float(rng.uniform(0.45, 1.0) if tumour else rng.uniform(0.0, 0.4))
    return Signature(
        label="tumour" if tumour else "benign",
        haematoxylin=_tilted(_HAEMATOXYLIN, 0.05, rng),
        eosin=_tilted(_EOSIN, 0.07, rng),
        haematoxylin_strength=float(1.65 * np.exp(rng.normal(0, 0.16))),
        eosin_strength=float(0.85 * np.exp(rng.normal(0, 0.18))),
        gland_radius=float(rng.uniform(19, 33)),
        nuclear_radius=float(rng.uniform(2.7, 3.5) + 1.3 * atypia),
        nuclear_spacing=float(rng.uniform(7.5, 10.5)),
        nuclear_elongation=float(rng.uniform(1.1, 2.0)),
        fibre_period=float(np.exp(rng.uniform(np.log(6), np.log(22)))),
        fibre_angle=float(rng.uniform(0, np.pi)),
        fibre_contrast=float(rng.uniform(0.25, 0.8)),
        stroma=float(rng.uniform(0.12, 0.4)),
        atypia=atypia,
    )


def cut(patient: int, slide: int, seed: int = 0) -> Signature:
    """State the signature as slide number `slide` shows it: stained on another day, so shifted a little."""
    rng = np.random.default_rng([seed, patient, 1 + slide, 0])
    truth = signature(patient, seed)
    return evolve(
        truth,
        haematoxylin=_tilted(truth.haematoxylin, 0.008, rng),
        eosin=_tilted(truth.eosin, 0.008, rng),
        haematoxylin_strength=float(truth.haematoxylin_strength * np.exp(rng.normal(0, 0.025))),
        eosin_strength=float(truth.eosin_strength * np.exp(rng.normal(0, 0.025))),
        stroma=float(np.clip(truth.stroma + rng.normal(0, 0.04), 0.08, 0.5)),
        fibre_angle=float(truth.fibre_angle + rng.normal(0, 0.2)),
    )


def _tilted(
    vector: tuple[float, float, float], spread: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    moved = np.clip(np.asarray(vector) + rng.normal(0, spread, 3), 0.02, None)
    if vector[0] > vector[2]:
        # Haematoxylin lets more blue through than red, else nuclei turn brown.
        moved[2] = min(moved[2], moved[0] - 0.15)
    red, green, blue = (float(part) for part in moved / np.linalg.norm(moved))
    return red, green, blue
