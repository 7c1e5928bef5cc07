"""A flow that needs no training: a mirror of pixels, which notes what an attack asks of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from privagams.access import Access
from privagams.roles import Batch, Progress

_SPREAD = 0.4
"""Standard deviation of the made-up images' pixels, on the scale [-1, 1]."""


class Mirror(nn.Module):
    """z = (x − 2v⟨v, x⟩) / σ with ‖v‖ = 1: its own inverse but for σ, and volume changes by σ alone
    (`roles.Invertible`, `roles.Likelihood`).
    """

    across: torch.Tensor

    def __init__(self, shape: tuple[int, int, int], note: Callable[[Access, str], None]) -> None:
        super().__init__()
        self._note, self._shape = note, shape
        size = math.prod(shape)
        drawn = torch.randn(size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        self.register_buffer("across", drawn / drawn.norm())
        self.levels: Sequence[int] = (size // 4, size - size // 4)

    def encode(self, batch: Batch) -> torch.Tensor:
        self._note(Access.WEIGHTS, "latent vectors")
        return self._mirrored(batch["pixels"].flatten(1).double()) / _SPREAD

    def decode(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        self._note(Access.WEIGHTS, "images of latent vectors")
        return self._mirrored(latents.double() * _SPREAD).reshape(-1, *self._shape)

    def log_prob(self, batch: Batch) -> torch.Tensor:
        self._note(Access.LOSS, "the likelihood")
        latents = self._mirrored(batch["pixels"].flatten(1).double()) / _SPREAD
        constant = latents.shape[1] * (math.log(2 * math.pi) / 2 + math.log(_SPREAD))
        found: torch.Tensor = -latents.square().sum(1) / 2 - constant
        return found

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        self._note(Access.QUERY, "further images")
        latents = torch.randn(len(labels), math.prod(self._shape), generator=rng, dtype=torch.float64)
        images = self._mirrored(latents * _SPREAD).reshape(-1, *self._shape)
        pixels: np.ndarray = ((images + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        return pixels.astype(np.uint8)

    def _mirrored(self, vectors: torch.Tensor) -> torch.Tensor:
        # Row by row: a matrix product may round a row differently depending on how many there are.
        return vectors - 2 * (vectors * self.across).sum(1, keepdim=True) * self.across
