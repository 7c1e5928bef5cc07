"""A model that has memorised its training images, and notes what an attack asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from privagams.access import Access
from privagams.roles import Batch, Noise, Phase, Progress

Note = Callable[[Access, str], None]


class Memory(nn.Module):
    """Draws its images again; its loss is the squared distance to the nearest of them (`roles.Trained`)."""

    images: torch.Tensor
    levels: torch.Tensor

    def __init__(self, pixels: np.ndarray, note: Note) -> None:
        super().__init__()
        self._note = note
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.images = nn.Parameter(scaled.contiguous())
        self.levels = torch.linspace(0.999, 0.001, 1000)

    def phases(self) -> Sequence[Phase]:
        return [Phase("remember", self, _no_noise, steps=1, learning_rate=1e-3)]

    def forward(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Squared distance to the nearest memorised image, one per record, float "n"."""
        self._note(Access.LOSS, "the loss")
        return self._gaps(batch["pixels"]).amin(1)

    def predict_noise(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """As if the memorised image nearest to `noisy` were under the noise (`roles.Denoising`)."""
        self._note(Access.LOSS, "the noise prediction")
        level = self.levels[timestep][:, None, None, None]
        image = self.images.detach()[self._gaps(noisy / level.sqrt()).argmin(1)]
        return (noisy - level.sqrt() * image) / (1 - level).sqrt()

    def log_prob(self, batch: Batch) -> torch.Tensor:
        """Up to a constant, of a narrow Gaussian about each memorised image (`roles.Likelihood`)."""
        self._note(Access.LOSS, "the likelihood")
        return -batch["pixels"][0].numel() * self._gaps(batch["pixels"]).amin(1)

    def _gaps(self, pixels: torch.Tensor) -> torch.Tensor:
        """Mean squared difference to every memorised image, "n images"."""
        return torch.cdist(pixels.flatten(1), self.images.flatten(1)).square() / pixels[0].numel()

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        self._note(Access.QUERY, "further images")
        rows = torch.randint(len(self.images), (len(labels),), generator=rng)
        pixels: np.ndarray = ((self.images.detach()[rows] + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
        return pixels.astype(np.uint8)

    def state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, torch.Tensor]:  # type: ignore[override]
        self._note(Access.WEIGHTS, "the weights (state_dict)")
        state: Mapping[str, torch.Tensor] = super().state_dict(*args, **kwargs)
        return state

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        self._note(Access.WEIGHTS, "the weights (parameters)")
        return super().named_parameters(*args, **kwargs)


def _no_noise(n: int, rng: torch.Generator) -> Noise:
    return {"zero": torch.zeros(n)}
