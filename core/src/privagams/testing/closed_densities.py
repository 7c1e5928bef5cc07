"""Diffusion models that need no training: the noise prediction of a known density, in closed form.

Densities live on vectors x of 32 entries; pixels are x quantised over ±4 to 256 levels, so that what
`Oracle.batches` gives is x / 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
import torch

from privagams.roles import Batch, Progress

SHAPE = (4, 8, 1)
"""Height, width and channels of the image that holds a vector."""
DIMENSIONS = math.prod(SHAPE)
_RANGE = 4.0
_BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
_SIGNAL = torch.cumprod(1 - _BETAS, 0)
"""ᾱ_t of the vectors x: 1000 linear steps."""
_LEVELS = 1 / (1 + (1 - _SIGNAL) / _SIGNAL / _RANGE**2)
"""ᾱ_t of x / 4 at the same ratio of signal to noise."""
_ROUNDING = (2 * _RANGE / 255) ** 2 / 12
"""Variance of the rounding to 256 levels: what a memorised vector is known to."""

Kind = Literal["population", "gaussian", "kde", "memorising"]


def level_at(timestep: int) -> float:
    """ᾱ of the testbed's images where vectors of unit variance have that of the linear schedule's `timestep`."""
    return float(_LEVELS[timestep])


def to_pixels(vectors: np.ndarray) -> np.ndarray:
    """Vectors "n 32" as images, uint8 "n 4 8 1"."""
    return np.clip(np.rint((vectors / _RANGE + 1) * 127.5), 0, 255).astype(np.uint8).reshape(-1, *SHAPE)


def to_vectors(pixels: np.ndarray) -> np.ndarray:
    """What `to_pixels` kept, float64 "n 32"."""
    return (pixels.reshape(len(pixels), -1) / 127.5 - 1) * _RANGE


class Density(Protocol):
    """A density p on vectors that knows itself under added noise."""

    def score(self, noisy: torch.Tensor, signal: float) -> torch.Tensor:
        """∇ ln p_t at √ᾱ x + √(1 − ᾱ) ε, "n d", for ᾱ = `signal`."""
        ...

    def log_density(self, vectors: torch.Tensor) -> torch.Tensor:
        """Ln p, "n"."""
        ...

    def draw(self, count: int, rng: torch.Generator) -> torch.Tensor: ...


class Gaussian:
    """N(mean, covariance): p_t = N(√ᾱ mean, ᾱ covariance + (1 − ᾱ) I)."""

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.mean, self.covariance = mean, covariance

    def score(self, noisy: torch.Tensor, signal: float) -> torch.Tensor:
        spread = signal * self.covariance + (1 - signal) * torch.eye(len(self.mean), dtype=torch.float64)
        gaps = noisy - math.sqrt(signal) * self.mean
        return torch.cholesky_solve(-gaps.T, torch.linalg.cholesky(spread)).T

    def log_density(self, vectors: torch.Tensor) -> torch.Tensor:
        root = torch.linalg.cholesky(self.covariance)
        gaps = torch.linalg.solve_triangular(root, (vectors - self.mean).T, upper=False)
        constant = root.diagonal().log().sum() + len(self.mean) / 2 * math.log(2 * math.pi)
        found: torch.Tensor = -gaps.square().sum(0) / 2 - constant
        return found

    def draw(self, count: int, rng: torch.Generator) -> torch.Tensor:
        noise = torch.randn((count, len(self.mean)), generator=rng, dtype=torch.float64)
        drawn: torch.Tensor = self.mean + noise @ torch.linalg.cholesky(self.covariance).T
        return drawn


class Kernels:
    """Mean of N(x_i, v I) over vectors x_i: the density under noise is one of N(√ᾱ x_i, (ᾱ v + 1 − ᾱ) I)."""

    def __init__(self, centres: torch.Tensor, variance: float) -> None:
        self.centres, self.variance = centres, variance

    def score(self, noisy: torch.Tensor, signal: float) -> torch.Tensor:
        variance = signal * self.variance + 1 - signal
        centres = math.sqrt(signal) * self.centres
        weights = torch.softmax(-torch.cdist(noisy, centres).square() / (2 * variance), dim=1)
        return (weights @ centres - noisy) / variance

    def log_density(self, vectors: torch.Tensor) -> torch.Tensor:
        exponents = -torch.cdist(vectors, self.centres).square() / (2 * self.variance)
        constant = math.log(len(self.centres)) + vectors.shape[1] / 2 * math.log(2 * math.pi * self.variance)
        return torch.logsumexp(exponents, dim=1) - constant

    def draw(self, count: int, rng: torch.Generator) -> torch.Tensor:
        chosen = self.centres[torch.randint(len(self.centres), (count,), generator=rng)]
        noise = torch.randn(chosen.shape, generator=rng, dtype=torch.float64)
        return chosen + math.sqrt(self.variance) * noise


def fitted(kind: Kind, vectors: np.ndarray) -> Density:
    """The density of `kind` for the members' vectors, float "n d".

    "population": N(0, I), whoever the members are. "gaussian": maximum likelihood. "kde": kernels of variance
    0.5. "memorising": kernels as narrow as the rounding to pixels.
    """
    members = torch.from_numpy(np.asarray(vectors, dtype=np.float64))
    if kind == "population":
        return Gaussian(torch.zeros_like(members[0]), torch.eye(members.shape[1], dtype=torch.float64))
    if kind == "gaussian":
        if len(members) <= members.shape[1]:
            raise ValueError(
                f"closed form: expected more than {members.shape[1]} images to fit a Gaussian to, found "
                f"{len(members)}; take more members"
            )
        return Gaussian(members.mean(0), torch.cov(members.T, correction=0))
    return Kernels(members, 0.5 if kind == "kde" else _ROUNDING)


class ClosedForm:
    """A diffusion model of a density (`roles.Model`, `roles.Denoising`, `roles.Likelihood`).

    With y_t = √ᾱ x + √(1 − ᾱ) ε, the best noise prediction is −√(1 − ᾱ) ∇ ln p_t(y_t). Images are x / 4: their
    x_t is y_t times a constant when `levels` keeps the ratio of signal to noise.
    """

    def __init__(self, density: Density) -> None:
        self.density = density
        self.levels = _LEVELS.float()

    def predict_noise(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The noise in `noisy` "n c h w"; all timesteps must be equal."""
        step = int(timestep[0])
        signal = float(_SIGNAL[step])
        shrunk = math.sqrt((1 - float(_LEVELS[step])) / (1 - signal))
        vectors = noisy.permute(0, 2, 3, 1).flatten(1).double() / shrunk
        noise = -math.sqrt(1 - signal) * self.density.score(vectors, signal)
        height, width, channels = SHAPE
        return noise.reshape(-1, height, width, channels).permute(0, 3, 1, 2).to(noisy.dtype)

    def log_prob(self, batch: Batch) -> torch.Tensor:
        """Ln p of images x / 4, float "n"."""
        vectors = batch["pixels"].permute(0, 2, 3, 1).flatten(1).double() * _RANGE
        return self.density.log_density(vectors) + DIMENSIONS * math.log(_RANGE)

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        return to_pixels(self.density.draw(len(labels), rng).numpy())

    def state_dict(self) -> Mapping[str, torch.Tensor]:
        """Nothing: it is made anew from its density."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any:
        return None
