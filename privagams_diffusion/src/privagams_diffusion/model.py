"""The diffusion model: its loss per record, and how images are drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import nn

from privagams.roles import Batch, Noise, Phase, Progress, Space, Sums
from privagams_diffusion.adapters import add_adapters
from privagams_diffusion.central import CentralImages
from privagams_diffusion.network import apply_network, make_network
from privagams_diffusion.objective import objective
from privagams_diffusion.recipe import learning
from privagams_diffusion.samplers import ddim, heun
from privagams_diffusion.schedule import karras_sigmas, to_level, trailing
from privagams_diffusion.settings import DiffusionSettings
from privagams_diffusion.start import load_start


class Diffusion:
    """Denoising diffusion in pixel space; the sources stand at each objective, sampler and recipe."""

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings

    def model(self, space: Space, seed: int) -> DiffusionModel:
        chosen = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = DiffusionModel(chosen, space)
            if chosen.start is not None:
                load_start(model, Path(chosen.start), chosen.start_sha256)
            if chosen.tune == "lora":
                add_adapters(model.net, chosen)
            return model


class DiffusionModel(nn.Module):
    """A U-Net that fulfils `Trained` and `Denoising`: calling it gives the loss of each record.

    Guarantee: record i's loss depends on record i alone, and a call leaves nothing behind: GroupNorm only, no
    dropout, no buffers that training changes (test_replacing_one_record_changes_no_other_loss,
    test_computing_losses_leaves_the_state_as_it_was).
    """

    levels: torch.Tensor

    def __init__(self, settings: DiffusionSettings, space: Space) -> None:
        super().__init__()
        self.settings = settings
        self.space = space
        self.net = make_network(settings, space)
        self.objective = objective(settings)
        self.central = CentralImages(settings, space)
        self.register_buffer("levels", to_level(self.objective.sigmas).float(), persistent=False)

    @property
    def hidden(self) -> int:
        """The label index that stands for "not told"."""
        return len(self.space.classes)

    def phases(self) -> Sequence[Phase | Sums]:
        return learning(self, self.draw, self.settings, self.central)

    def draw(self, n: int, rng: torch.Generator) -> Noise:
        """All that is random about `n` losses: noise level and what the network is told of it, float "n";
        noise "n c h w"; labels to hide, bool "n".
        """
        side, channels = self.space.size, self.space.channels
        sigma = self.objective.draw(n, rng)
        return {
            "sigma": sigma,
            "condition": self.objective.condition(sigma),
            "noise": torch.randn((n, channels, side, side), generator=rng, device=rng.device),
            "hide": torch.rand((n,), generator=rng, device=rng.device) < self.settings.label_dropout,
        }

    def forward(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Mean squared error of the prediction at x = x_0 + σ ε, one per record, float "n"."""
        image, epsilon, sigma = batch["pixels"], noise["noise"], noise["sigma"][:, None, None, None]
        labels = None
        if self.space.classes:
            told = batch["labels"]
            labels = torch.where(noise["hide"] | (told < 0), self.hidden, told)
        seen = self.objective.scales(sigma).into * (image + sigma * epsilon)
        output = apply_network(self.net, self.settings, seen, noise["condition"], labels)
        return ((output - self.objective.aim(image, epsilon, sigma)) ** 2).flatten(1).mean(1)

    @torch.no_grad()
    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per label, uint8 "n h w c"; label -1 asks for an image of any class."""
        side, channels = self.space.size, self.space.channels
        drawn = np.empty((len(labels), side, side, channels), dtype=np.uint8)
        size, steps = self.settings.sampling_batch, self.settings.sampling_steps
        total, done = -(-len(labels) // size) * steps, count(1)
        for start in range(0, len(labels), size):
            told = torch.as_tensor(np.asarray(labels[start : start + size], dtype=np.int64))
            drawn[start : start + size] = self._sample(told, rng, lambda: progress(next(done), total))
        return drawn

    def predict_noise(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The noise in `noisy` as the network predicts it; see `roles.Denoising`."""
        told = None
        if self.space.classes:
            given = torch.full_like(timestep, -1) if labels is None else labels
            told = torch.where(given < 0, self.hidden, given)
        # In float64: at little noise the difference of image and prediction is all that is asked for.
        level = self.levels[timestep].double()[:, None, None, None]
        x, sigma = noisy.double() / level.sqrt(), ((1 - level) / level).sqrt()
        return ((x - self._denoise(x, sigma, told)) / sigma).to(noisy.dtype)

    def _sample(self, told: torch.Tensor, rng: torch.Generator, tick: Callable[[], None]) -> np.ndarray:
        device = self.levels.device
        shape = (len(told), self.space.channels, self.space.size, self.space.size)
        noise = torch.randn(shape, generator=rng, device=rng.device).to(device)
        told = told.to(device)
        labels = torch.where(told < 0, self.hidden, told) if self.space.classes else None

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            return self._guided(x, x.new_full((len(x), 1, 1, 1), sigma), labels).clamp(-1, 1)

        way = heun if self.settings.sampler == "heun" else ddim
        sigmas = self._sigmas()
        return _to_uint8(way(noise * float(sigmas[0]), sigmas, denoise, tick))

    def _sigmas(self) -> torch.Tensor:
        """The falling noise levels of drawing: of training's own timesteps, or of Karras' grid within them."""
        chosen, known = self.settings, self.objective.sigmas
        if chosen.sampler == "ddim":
            return trailing(known, chosen.sampling_steps)
        least, most = max(chosen.sigma_min, float(known[0])), min(chosen.sigma_max, float(known[-1]))
        return karras_sigmas(chosen.sampling_steps, least, most, chosen.rho)

    def _guided(self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        image = self._denoise(x, sigma, labels)
        if labels is None or self.settings.guidance == 1:
            return image
        blind = self._denoise(x, sigma, torch.full_like(labels, self.hidden))
        return blind + self.settings.guidance * (image - blind)

    def _denoise(self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The image D(x; σ) in x = x_0 + σ ε, not clamped; `sigma`: "n 1 1 1"."""
        scales, condition = self.objective.scales(sigma), self.objective.condition(sigma.flatten())
        seen = (scales.into * x).float()
        output = apply_network(self.net, self.settings, seen, condition.float(), labels)
        return scales.skip * x + scales.out * output


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()
