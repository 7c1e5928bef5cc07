"""GLOW as a generator: its loss per record, its latents, and how images are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from privagams.errors import ConfigError, StageError
from privagams.roles import Batch, Noise, Phase, Progress, Space
from privagams_glow.network import Network
from privagams_glow.settings import GlowSettings
from privagams_glow.weights import require_fitting

POSITIONS_AT_ONCE = 16384
"""Of the finest level, so that what a coupling holds stays near the processor."""

SMALLEST_SIDE = 4
"""Px of the coarsest level, at least, when the number of levels is not given."""


class Glow:
    """A multi-scale normalising flow on pixels. Kingma and Dhariwal (2018), arXiv 1807.03039."""

    def __init__(self, settings: GlowSettings) -> None:
        self.settings = settings

    def model(self, space: Space, seed: int) -> GlowModel:
        levels = _levels(self.settings.levels, space.size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return GlowModel(self.settings, space, levels)


class GlowModel(nn.Module):
    """A flow that fulfils `Trained`, `Likelihood` and `Invertible`: calling it gives each record's loss.

    A byte v becomes x = (v + u) / 128 − 1 with u uniform on [0, 1) in training, and u = 1/2, the middle of the
    bin, wherever an image is encoded. ln P(v) ≈ ln p(x) − d ln 128; averaged over u it is a lower bound of the
    likelihood of the bytes, at the middle of the bin an approximation to it.

    Guarantee: record i's loss depends on record i alone, and a call leaves nothing behind: no statistic of a
    batch, nothing initialised from data (test_replacing_one_record_changes_no_other_loss,
    test_computing_losses_leaves_the_state_as_it_was).
    """

    def __init__(self, settings: GlowSettings, space: Space, levels: int) -> None:
        super().__init__()
        self.settings = settings
        self.space = space
        self.net = Network(
            space.size, space.channels, levels, settings.depth, settings.width, len(space.classes)
        )

    @property
    def levels(self) -> Sequence[int]:
        """Latent coordinates of each level, coarsest first."""
        return [math.prod(shape) for shape in reversed(self.net.shapes)]

    @property
    def dimensions(self) -> int:
        """Coordinates of an image, d = c·h·w."""
        return self.space.channels * self.space.size**2

    @property
    def _at_once(self) -> int:
        """Images encoded, decoded or drawn at once; changes speed and memory alone."""
        return max(1, POSITIONS_AT_ONCE // (self.space.size // 2) ** 2)

    def phases(self) -> Sequence[Phase]:
        chosen = self.settings
        return [
            Phase(
                name="likelihood",
                module=self,
                draw=self.draw,
                steps=chosen.steps,
                learning_rate=chosen.learning_rate,
                batch=chosen.batch,
                ema=chosen.ema,
                weight_decay=chosen.weight_decay,
                data=chosen.train_on,
            )
        ]

    def draw(self, n: int, rng: torch.Generator) -> Noise:
        """All that is random about `n` losses: place in the bin "n c h w", labels to hide "n"."""
        shape = (n, self.space.channels, self.space.size, self.space.size)
        return {
            "place": torch.rand(shape, generator=rng, device=rng.device),
            "hide": torch.rand((n,), generator=rng, device=rng.device) < self.settings.label_dropout,
        }

    def forward(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Bits per dimension of each record, float "n"."""
        labels = self._told(batch)
        if labels is not None:
            labels = torch.where(noise["hide"], -1, labels)
        found = self._log_prob(batch["pixels"], noise["place"], labels)
        return self.bits_per_dimension(found)

    def log_prob(self, batch: Batch) -> torch.Tensor:
        """Ln P of each 8-bit image, float "n", nat: density at the middle of the bin times the bin's width."""
        self._check_pixels(batch["pixels"])
        return self._log_prob(batch["pixels"], 0.5, self._told(batch))

    def bits_per_dimension(self, log_prob: torch.Tensor) -> torch.Tensor:
        """−log₂ P / d."""
        return log_prob * (-1 / (math.log(2) * self.dimensions))

    @torch.no_grad()
    def encode(self, batch: Batch) -> torch.Tensor:
        """Whitened latents "n d" of images, each byte at the middle of its bin; see `roles.Invertible`."""
        self._check_pixels(batch["pixels"])
        images, labels = self._scaled(batch["pixels"], 0.5), self._told(batch)
        _refuse_non_finite("glow encode: image", 0, "as given", images)
        found = images.new_empty(images.shape[3], self.dimensions)
        for rows in _chunks(len(found), self._at_once):
            image, told = images[..., rows], _some(labels, rows)
            found[rows], _ = self.net(image, told)
            if not torch.isfinite(found[rows]).all():
                # Once more, block by block: to watch always would cost time in every good run.
                self.net(image, told, partial(_refuse_non_finite, "glow encode: image", rows.start))
        return found

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Images "n c h w" of latents "n d", not clamped; see `roles.Invertible`."""
        self._check_latents(latents)
        latents, labels = latents.to(self.net.base), labels if self.space.classes else None
        _refuse_non_finite("glow decode: vector", 0, "as given", latents.t())
        side, channels = self.space.size, self.space.channels
        found = latents.new_empty(len(latents), channels, side, side)
        for rows in _chunks(len(found), self._at_once):
            vector, told = latents[rows], _some(labels, rows)
            found[rows] = self.net.inverse(vector, told).movedim(3, 0)
            if not torch.isfinite(found[rows]).all():
                self.net.inverse(vector, told, partial(_refuse_non_finite, "glow decode: vector", rows.start))
        return ((found + 1) * 128 - 0.5) / 127.5 - 1

    @torch.no_grad()
    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per label, uint8 "n h w c"; label −1 asks for an image of any class."""
        side, size = self.space.size, self._at_once
        drawn = np.empty((len(labels), side, side, self.space.channels), dtype=np.uint8)
        for start in range(0, len(labels), size):
            told = torch.as_tensor(np.asarray(labels[start : start + size], dtype=np.int64))
            latents = torch.randn((len(told), self.dimensions), generator=rng, device=rng.device)
            images = self.decode(latents * self.settings.temperature, told.to(self.net.base.device))
            drawn[start : start + size] = _to_uint8(images)
            progress(min(start + size, len(labels)), len(labels))
        return drawn

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over saved weights; raises `StageError` for those of another architecture or damaged ones."""
        require_fitting(state_dict, self.state_dict())
        return super().load_state_dict(state_dict, strict, assign)

    def _log_prob(
        self, pixels: torch.Tensor, place: torch.Tensor | float, labels: torch.Tensor | None
    ) -> torch.Tensor:
        latents, volume = self.net(self._scaled(pixels, place), labels)
        density: torch.Tensor = latents.square().sum(1) * -0.5 + volume
        return density - self.dimensions * (0.5 * math.log(2 * math.pi) + math.log(128))

    def _scaled(self, pixels: torch.Tensor, place: torch.Tensor | float) -> torch.Tensor:
        """Pixels on the scale of `Batch`, "n c h w", as (v + place) / 128 − 1, "c h w n"."""
        scaled = ((pixels.to(self.net.base) + 1) * 127.5 + place) / 128 - 1
        return scaled.movedim(0, 3)

    def _told(self, batch: Batch) -> torch.Tensor | None:
        return batch.get("labels") if self.space.classes else None

    def _check_pixels(self, pixels: torch.Tensor) -> None:
        expected = (self.space.channels, self.space.size, self.space.size)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
            raise StageError(
                f"glow: expected images of shape (n, {', '.join(map(str, expected))}), found "
                f"{tuple(pixels.shape)}; use images of the size that the model was trained on"
            )

    def _check_latents(self, latents: torch.Tensor) -> None:
        if latents.ndim != 2 or latents.shape[1] != self.dimensions:
            raise StageError(
                f"glow: expected latents of shape (n, {self.dimensions}), found {tuple(latents.shape)}; they "
                f"belong to images of {self.space.size} px with {self.space.channels} channels"
            )


def _levels(asked: int | None, size: int) -> int:
    """How many levels; raises `ConfigError` where the size cannot be halved as often."""
    fitting = 0
    while size % 2 ** (fitting + 1) == 0 and size // 2 ** (fitting + 1) >= SMALLEST_SIDE:
        fitting += 1
    levels = max(fitting, 1) if asked is None else asked
    fold = 2**levels
    if size % fold:
        nearest = max(fold, round(size / fold) * fold)
        instead = f", or levels to {fitting}" if fitting else ""
        raise ConfigError(
            f"glow: {levels} levels need images whose size is a multiple of {fold} px, found {size} px; "
            f"change tiles.size to {nearest}{instead}"
        )
    return levels


def _refuse_non_finite(what: str, first: int, block: str, output: torch.Tensor) -> None:
    """Raise `StageError` for the first record of "... n" that is not finite everywhere."""
    bad = ~torch.isfinite(output.flatten(0, -2)).all(0)
    if bad.any():
        raise StageError(
            f"{what} {first + int(bad.nonzero()[0])}, {block}: expected finite numbers, found NaN or infinity; "
            "look at this input, and train with a lower learning_rate if it is an ordinary one"
        )


def _some(labels: torch.Tensor | None, rows: slice) -> torch.Tensor | None:
    return None if labels is None else labels[rows]


def _chunks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()
