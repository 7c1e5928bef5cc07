"""The denoising network, its loss per record, and how images are drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn
from torch.nn import functional

from privagams.errors import ConfigError
from privagams.roles import Batch, Noise, Phase, Progress, Space
from privagams_diffusion.schedule import ddim, signal_levels
from privagams_diffusion.settings import NORM_GROUPS, DiffusionSettings


class Diffusion:
    """Denoising diffusion in pixel space.

    Ho et al. (2020), arXiv 2006.11239; velocity prediction: Salimans and Ho (2022), arXiv 2202.00512.
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings

    def model(self, space: Space, seed: int) -> DiffusionModel:
        _check_size(self.settings, space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DiffusionModel(self.settings, space)


class DiffusionModel(nn.Module):
    """A U-Net that fulfils `Trained`: calling it gives the loss of each record.

    Guarantee: record i's loss depends on record i alone, and a call leaves nothing behind: GroupNorm only, no
    dropout, no buffers that training changes (test_replacing_one_record_changes_no_other_loss,
    test_computing_losses_leaves_the_state_as_it_was).
    """

    levels: torch.Tensor

    def __init__(self, settings: DiffusionSettings, space: Space) -> None:
        super().__init__()
        self.settings = settings
        self.space = space
        self.net = _network(settings, space)
        self.register_buffer("levels", signal_levels(settings.schedule, settings.timesteps), persistent=False)

    @property
    def hidden(self) -> int:
        """The label index that stands for "not told"."""
        return len(self.space.classes)

    def phases(self) -> Sequence[Phase]:
        chosen = self.settings
        return [
            Phase(
                name="denoise",
                module=self,
                draw=self.draw,
                steps=chosen.steps,
                learning_rate=chosen.learning_rate,
                batch=chosen.batch,
                ema=chosen.ema,
            )
        ]

    def draw(self, n: int, rng: torch.Generator) -> Noise:
        """All that is random about `n` losses: timestep int64 "n", noise "n c h w", labels to hide "n"."""
        side, channels = self.space.size, self.space.channels
        return {
            "timestep": torch.randint(self.settings.timesteps, (n,), generator=rng, device=rng.device),
            "noise": torch.randn((n, channels, side, side), generator=rng, device=rng.device),
            "hide": torch.rand((n,), generator=rng, device=rng.device) < self.settings.label_dropout,
        }

    def forward(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Mean squared error of the prediction, one per record, float "n".

        x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε; the aim is ε, or v = √ᾱ_t ε − √(1 − ᾱ_t) x_0.
        """
        image, epsilon, timestep = batch["pixels"], noise["noise"], noise["timestep"]
        signal, spread = self._shares(timestep)
        noisy = signal * image + spread * epsilon
        aim = epsilon if self.settings.prediction == "epsilon" else signal * epsilon - spread * image
        labels = None
        if self.space.classes:
            told = batch["labels"]
            labels = torch.where(noise["hide"] | (told < 0), self.hidden, told)
        return ((self._denoise(noisy, timestep, labels) - aim) ** 2).flatten(1).mean(1)

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
        output = self._denoise(noisy, timestep, told)
        if self.settings.prediction == "epsilon":
            return output
        signal, spread = self._shares(timestep)
        return signal * output + spread * noisy

    def _sample(self, told: torch.Tensor, rng: torch.Generator, tick: Callable[[], None]) -> np.ndarray:
        device = self.levels.device
        shape = (len(told), self.space.channels, self.space.size, self.space.size)
        noise = torch.randn(shape, generator=rng, device=rng.device).to(device)
        told = told.to(device)
        labels = torch.where(told < 0, self.hidden, told) if self.space.classes else None
        images = ddim(
            noise, self.levels, self.settings.sampling_steps, lambda x, t: self._predict(x, t, labels), tick
        )
        return _to_uint8(images)

    def _predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The image within [-1, 1] and the noise that together make `noisy`."""
        signal, spread = self._shares(timestep)
        output = self._denoise(noisy, timestep, labels)
        if labels is not None and self.settings.guidance != 1:
            blind = self._denoise(noisy, timestep, torch.full_like(labels, self.hidden))
            output = blind + self.settings.guidance * (output - blind)
        if self.settings.prediction == "epsilon":
            image = (noisy - spread * output) / signal
        else:
            image = signal * noisy - spread * output
        image = image.clamp(-1, 1)
        return image, (noisy - signal * image) / spread

    def _shares(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        level = self.levels[timestep][:, None, None, None]
        return level.sqrt(), (1 - level).sqrt()

    def _denoise(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        # Pixels are folded into channels: a quarter of the work at patch = 2, and noise stays independent.
        folded = functional.pixel_unshuffle(noisy, self.settings.patch)
        output = self.net(folded, timestep * (1000 / self.settings.timesteps), labels).sample
        return functional.pixel_shuffle(output, self.settings.patch)


def _network(settings: DiffusionSettings, space: Space) -> UNet2DModel:
    folded = space.channels * settings.patch**2
    net: UNet2DModel = UNet2DModel(
        sample_size=space.size // settings.patch,
        in_channels=folded,
        out_channels=folded,
        block_out_channels=settings.channels,
        down_block_types=("DownBlock2D",) * len(settings.channels),
        up_block_types=("UpBlock2D",) * len(settings.channels),
        layers_per_block=settings.layers,
        norm_num_groups=NORM_GROUPS,
        add_attention=settings.attention,
        attention_head_dim=math.gcd(32, settings.channels[-1]),
        num_class_embeds=len(space.classes) + 1 if space.classes else None,
    )
    for module in net.modules():
        if isinstance(module, Attention):
            # Plain matrix products: torch's fused attention has no rule for vmap and becomes a slow loop.
            module.set_processor(AttnProcessor())
    return net


def _check_size(settings: DiffusionSettings, space: Space) -> None:
    fold = settings.patch * 2 ** (len(settings.channels) - 1)
    if space.size % fold:
        raise ConfigError(
            f"diffusion: {len(settings.channels)} widths in channels and patch = {settings.patch} need "
            f"images whose size is a multiple of {fold} px, found {space.size} px; change tiles.size to "
            f"{-(-space.size // fold) * fold}, or give fewer widths in channels or a smaller patch"
        )


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()
