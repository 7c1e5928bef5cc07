"""What the network is asked to predict, at which noise levels, and how an image is read off its answer."""

from __future__ import annotations

from typing import Protocol

import torch
from attrs import frozen

from privagams_diffusion.schedule import karras_sigmas, signal_levels, to_level, to_sigma
from privagams_diffusion.settings import DiffusionSettings


@frozen(eq=False)
class Scales:
    """The image in x = x_0 + σ ε as the network F sees it: D(x; σ) = skip · x + out · F(into · x; condition)."""

    skip: torch.Tensor
    out: torch.Tensor
    into: torch.Tensor


class Objective(Protocol):
    """A training objective: F is fitted to `aim` in squared error, which D then turns into an image."""

    sigmas: torch.Tensor
    """σ at each timestep, float64 "T", rising: what an outside party can ask about."""

    def draw(self, n: int, rng: torch.Generator) -> torch.Tensor:
        """Noise levels σ of `n` losses, float "n"."""
        ...

    def condition(self, sigma: torch.Tensor) -> torch.Tensor:
        """What the network is told of σ, float "n", on the scale of 1000 timesteps."""
        ...

    def scales(self, sigma: torch.Tensor) -> Scales: ...

    def aim(self, image: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """(x_0 − skip · x) / out."""
        ...


def objective(settings: DiffusionSettings) -> Objective:
    if settings.prediction == "edm":
        return Edm(settings)
    levels = signal_levels(settings.schedule, settings.timesteps)
    return Velocity(levels) if settings.prediction == "v" else Epsilon(levels)


class _Timesteps:
    """Noise levels of a table, each as likely as any other."""

    def __init__(self, levels: torch.Tensor) -> None:
        self.sigmas = to_sigma(levels)

    def draw(self, n: int, rng: torch.Generator) -> torch.Tensor:
        chosen = torch.randint(len(self.sigmas), (n,), generator=rng, device=rng.device)
        return self.sigmas.to(rng.device)[chosen].float()

    def condition(self, sigma: torch.Tensor) -> torch.Tensor:
        """The timestep of σ, interpolated in ln σ."""
        knots, log = self.sigmas.log().to(sigma.device), sigma.double().log()
        above = torch.searchsorted(knots, log).clamp(1, len(knots) - 1)
        low, high = knots[above - 1], knots[above]
        step = above - 1 + ((log - low) / (high - low)).clamp(0, 1)
        return (step * (1000 / len(knots))).float()


class Velocity(_Timesteps):
    """v = √ᾱ ε − √(1 − ᾱ) x_0; Salimans and Ho (2022), arXiv 2202.00512."""

    def scales(self, sigma: torch.Tensor) -> Scales:
        into = to_level(sigma).sqrt()
        return Scales(skip=into**2, out=-sigma * into, into=into)

    def aim(self, image: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return (noise - sigma * image) * to_level(sigma).sqrt()


class Epsilon(_Timesteps):
    """The noise ε; Ho et al. (2020), arXiv 2006.11239."""

    def scales(self, sigma: torch.Tensor) -> Scales:
        return Scales(skip=torch.ones_like(sigma), out=-sigma, into=to_level(sigma).sqrt())

    def aim(self, image: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return noise


class Edm:
    """Preconditioned denoising, ln σ ~ N(p_mean, p_std²); Karras et al. (2022), arXiv 2206.00364, table 1.

    With s = √(σ² + σ_data²): c_skip = σ_data² / s², c_out = σ σ_data / s, c_in = 1 / s, c_noise = ln(σ) / 4.
    Squared error in F is the loss λ |D − x_0|² with their weight λ = s² / (σ σ_data)².
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        self._mean, self._std, self._data = settings.p_mean, settings.p_std, settings.sigma_data
        self.sigmas = karras_sigmas(
            settings.timesteps, settings.sigma_min, settings.sigma_max, settings.rho
        ).flip(0)

    def draw(self, n: int, rng: torch.Generator) -> torch.Tensor:
        return (self._mean + self._std * torch.randn((n,), generator=rng, device=rng.device)).exp()

    def condition(self, sigma: torch.Tensor) -> torch.Tensor:
        """250 · c_noise: the network's embedding of time is made for differences of hundreds."""
        return 250 * c_noise(sigma)

    def scales(self, sigma: torch.Tensor) -> Scales:
        square = sigma**2 + self._data**2
        return Scales(
            skip=self._data**2 / square, out=sigma * self._data / square.sqrt(), into=1 / square.sqrt()
        )

    def aim(self, image: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return (sigma / self._data * image - self._data * noise) / (sigma**2 + self._data**2).sqrt()


def c_noise(sigma: torch.Tensor) -> torch.Tensor:
    return sigma.log() / 4
