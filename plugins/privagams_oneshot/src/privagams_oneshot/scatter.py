"""The generator `scatter`: two noisy sums of wavelet features, a network fitted to them, and drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from torch import nn

from privagams.errors import ConfigError, StageError
from privagams.roles import Batch, Progress, Space, Summary, Sums
from privagams_oneshot.drawing import draw
from privagams_oneshot.fitting import fit_network
from privagams_oneshot.scatter_blocks import Blocks
from privagams_oneshot.scatter_features import unit_range
from privagams_oneshot.scatter_fitting import scatter_distance
from privagams_oneshot.scatter_network import ScatterNetwork
from privagams_oneshot.scatter_settings import ScatterSettings
from privagams_oneshot.scatter_target import Target
from privagams_oneshot.whitening import Whitening, second_moment

SMALLEST = 4
"""Images smaller than this have no contours to speak of, px."""


@frozen
class Scatter:
    """A network fitted to noisy means of scattering features in noisily whitened coordinates.

    Maximum mean discrepancy to a noisy mean embedding as in DP-MERF (Harder, Adamczewski, Park 2021,
    arXiv 2002.11603) and DP-Kernel (Jiang, Zhang, Sun 2023, arXiv 2306.13000), of scattering features (Mallat
    2012, arXiv 1101.2286). Noise moves any one image's kernel mean by sigma/n only, whatever the number of
    features: so they may be many.
    """

    settings: ScatterSettings

    def model(self, space: Space, seed: int) -> ScatterModel:
        if space.size < SMALLEST:
            raise ConfigError(
                f"tiles.size: scatter needs images of at least {SMALLEST} px, found {space.size}; "
                "make tiles larger"
            )
        return ScatterModel(space, self.settings, seed)


class ScatterModel(nn.Module):
    """A network whose mean features, class by class, match a noisy sum over patients.

    Guarantee: members are seen by the features of two sums and by nothing else; the second's coordinates are
    made of the first's noisy answer (test_the_second_sums_coordinates_come_from_the_noisy_answer_alone).
    """

    def __init__(self, space: Space, settings: ScatterSettings, seed: int) -> None:
        super().__init__()
        self.space, self.settings = space, settings
        rng = torch.Generator().manual_seed(seed)
        textures = (256 if space.channels > 1 else 0) if settings.textures is None else settings.textures
        self.blocks = Blocks(space, settings.frequencies, settings.quadratic, textures, rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = ScatterNetwork(space, settings.width, settings.latent)
        self.network.eval()
        self._whitening: Whitening | None = None
        self._target: Target | None = None

    def sums(self) -> Sequence[Sums]:
        """Ask for second moments of all records together, then for the blocks' means of each class."""
        first = self.settings.whitening_share
        return [
            Sums("moments", self._moments, self._whiten, share=first, by_class=False),
            Sums("blocks", self._vectors, self._aim, share=1 - first),
        ]

    def fit(self, rng: torch.Generator, progress: Progress) -> None:
        """Fit to the sums. Whatever is done here is post-processing: members are not seen again."""
        whitening = self._known()
        if self._target is None:
            raise StageError("scatter: expected both noisy sums before the fit, found one; `take` them first")
        target = self._target

        def loss(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            # A lattice that moves leaves no place where a pattern of the lattice's own pitch could hide.
            offset = 0 if self.blocks.textures is None else int(torch.randint(64, (), generator=rng))
            parts = self.blocks.parts(images, whitening, offset)
            y, short = (part.view(self.network.classes, self.settings.batch, -1) for part in parts)
            return scatter_distance(y, short, target).sum()

        fit_network(self.network, loss, self.settings, rng, progress)

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per label, uint8 "n h w c"."""
        return shifted(draw(self.network, self.space, labels, rng, progress), self.settings.shift, rng)

    def _moments(self, batch: Batch) -> torch.Tensor:
        return second_moment(self.blocks.phi(unit_range(batch["pixels"])))

    def _whiten(self, summary: Summary) -> None:
        self._whitening = Whitening.of(summary, self.blocks.phi.size)

    def _vectors(self, batch: Batch) -> torch.Tensor:
        return self.blocks.vectors(batch["pixels"], self._known())

    def _aim(self, summary: Summary) -> None:
        self._target = Target.of(summary, self.blocks, self.settings.caution)

    def _known(self) -> Whitening:
        if self._whitening is None:
            raise StageError("scatter: expected the first noisy sum, found none; `take` it before the second")
        return self._whitening


def shifted(images: np.ndarray, most: int, rng: torch.Generator) -> np.ndarray:
    """Move each image by up to `most` px along either axis, edges repeated."""
    if not most:
        return images
    places = torch.randint(0, 2 * most + 1, (len(images), 2), generator=rng).tolist()
    height, width = images.shape[1:3]
    moved = np.empty_like(images)
    for image, out, (y, x) in zip(images, moved, places, strict=True):
        wide = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
        out[:] = wide[y : y + height, x : x + width]
    return moved
