"""The one-shot model: features of records, a fit to their noisy sum, and drawing."""

from __future__ import annotations

import math

import numpy as np
import torch
from attrs import frozen
from torch import nn

from privagams.errors import ConfigError
from privagams.roles import Batch, Progress, Space, Summary
from privagams_oneshot.features import CONSTANT, Embedding
from privagams_oneshot.fitting import fit_network, trust
from privagams_oneshot.network import Network
from privagams_oneshot.settings import DpMerfSettings

DRAWN_AT_ONCE = 100
"""Images drawn together; part of what makes a draw repeatable."""
SMALLEST = 4
"""Images smaller than this have no texture to speak of, px."""


@frozen
class DpMerf:
    """A network fitted to a noisy mean of random features: DP-MERF.

    Harder, Adamczewski, Park (2021), arXiv 2002.11603, with four differences: the unit is the patient, whose
    records are averaged; the features are of patches, style and layout in place of Fourier features of all
    pixels, so that what survives the noise is texture and colour; classes are counted by an entry of the same
    sum; the distance is unbiased.
    """

    settings: DpMerfSettings

    def model(self, space: Space, seed: int) -> DpMerfModel:
        if space.size < SMALLEST:
            raise ConfigError(
                f"tiles.size: dp-merf needs images of at least {SMALLEST} px, found {space.size}; "
                "make tiles larger"
            )
        return DpMerfModel(space, self.settings, seed)


class DpMerfModel(nn.Module):
    """A network whose mean random features, class by class, match a noisy sum over patients."""

    def __init__(self, space: Space, settings: DpMerfSettings, seed: int) -> None:
        super().__init__()
        self.space, self.settings = space, settings
        self.embedding = Embedding(space, settings.features, torch.Generator().manual_seed(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Network(space, settings.width, settings.latent)
        self.network.eval()

    @torch.no_grad()
    def features(self, batch: Batch) -> torch.Tensor:
        """Embed records in the block of their class, the other blocks 0: float32 "n (k d)", norm at most 1.

        A record with a label outside of the classes gives 0 everywhere.
        """
        embedded: torch.Tensor = self.embedding(batch["pixels"])
        if not self.space.classes:
            return embedded
        classes = torch.arange(len(self.space.classes), device=embedded.device)
        own = (batch["labels"][:, None] == classes).to(embedded.dtype)
        return (own[:, :, None] * embedded[:, None]).flatten(1)

    def fit(self, summary: Summary, rng: torch.Generator, progress: Progress) -> None:
        """Fit to the sum. Whatever is done here is post-processing: members are not seen again."""
        device = self.network.embed.weight.device
        means, noise_std = (part.to(device) for part in class_means(summary, self.network.classes))
        # Weighted, not shrunk: a short mean embedding is not a cautious one, it belongs to wilder images.
        weights = trust(means, noise_std, self.embedding.get_buffer("groups"))
        fit_network(self.network, self.embedding, means, weights, self.settings, rng, progress)

    @torch.no_grad()
    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per label, uint8 "n h w c"."""
        self.network.eval()
        wanted = torch.as_tensor(labels, dtype=torch.int64, device=self.network.embed.weight.device)
        drawn = np.empty((len(wanted), self.space.size, self.space.size, self.space.channels), np.uint8)
        for start in range(0, len(wanted), DRAWN_AT_ONCE):
            part = wanted[start : start + DRAWN_AT_ONCE]
            drawn[start : start + len(part)] = _to_uint8(
                self.network(part, self.network.draw(len(part), rng))
            )
            progress(start + len(part), len(wanted))
        return drawn


def class_means(summary: Summary, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the noisy sum into one mean embedding per class, "k d", and the noise of its entries, "k 1".

    A class is counted by its own constant entry, since only the number of patients is public. That entry is
    noisy; a quarter of a fair share is the least it is taken for, lest the noise of a rare class be blown up.
    """
    sums = summary.total.view(classes, -1)
    counts = (sums[:, :1] / math.sqrt(CONSTANT)).clamp(min=max(1.0, summary.patients / (4 * classes)))
    return sums / counts, summary.noise_std / counts


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    scaled = (images.permute(0, 2, 3, 1) * 127.5 + 127.5).round()
    return scaled.to(torch.uint8).cpu().numpy()
