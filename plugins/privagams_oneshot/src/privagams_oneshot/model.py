"""The one-shot model: features of records, a fit to their noisy sum, and drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from torch import nn

from privagams.errors import ConfigError, StageError
from privagams.roles import Batch, Progress, Space, Summary, Sums
from privagams_oneshot.drawing import draw
from privagams_oneshot.features import CONSTANT, Embedding
from privagams_oneshot.fitting import distance, fit_network, trust
from privagams_oneshot.network import Network
from privagams_oneshot.settings import DpMerfSettings

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
        self._told: tuple[torch.Tensor, torch.Tensor] | None = None

    def sums(self) -> Sequence[Sums]:
        """Ask for one sum: of all records' features, each in the block of its class."""
        return [Sums("features", self._features, self._take)]

    def fit(self, rng: torch.Generator, progress: Progress) -> None:
        """Fit to the sum. Whatever is done here is post-processing: members are not seen again."""
        if self._told is None:
            raise StageError("dp-merf: expected the noisy sum before the fit, found none; `take` it first")
        means, noise_std = (part.to(self.network.embed.weight.device) for part in self._told)
        # Weighted, not shrunk: a short mean embedding is not a cautious one, it belongs to wilder images.
        weights = trust(means, noise_std, self.embedding.get_buffer("groups"))
        root = weights.sqrt()

        def loss(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            # A lattice that moves leaves no place where a pattern of the lattice's own pitch could hide.
            features = self.embedding(images, int(torch.randint(64, (), generator=rng)))
            weighted = features.view(self.network.classes, self.settings.batch, -1) * root[:, None]
            return distance(weighted, means * root).sum()

        fit_network(self.network, loss, self.settings, rng, progress)

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per label, uint8 "n h w c"."""
        return draw(self.network, self.space, labels, rng, progress)

    def _features(self, batch: Batch) -> torch.Tensor:
        """Embed records, float32 "n d", norm at most 1."""
        embedded: torch.Tensor = self.embedding(batch["pixels"])
        return embedded

    def _take(self, summary: Summary) -> None:
        """Keep what the sum told of each class; the core tells it again after a resume."""
        self._told = class_means(summary)


def class_means(summary: Summary) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the noisy sum into one mean embedding per class, "k d", and the noise of its entries, "k 1".

    A class is counted by its own constant entry, since only the number of patients is public. That entry is
    noisy; a quarter of a fair share is the least it is taken for, lest the noise of a rare class be blown up.
    """
    sums = summary.totals[0]
    fair = summary.patients / len(sums)
    counts = (sums[:, :1] / math.sqrt(CONSTANT)).clamp(min=max(1.0, fair / 4))
    return sums / counts, summary.noise_std / counts
