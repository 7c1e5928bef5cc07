"""How a fitted network's images become the uint8 arrays that a release holds."""

from __future__ import annotations

import numpy as np
import torch

from privagams.roles import Progress, Space
from privagams_oneshot.network import DrawingNetwork

DRAWN_AT_ONCE = 100
"""Images drawn together; part of what makes a draw repeatable."""


@torch.no_grad()
def draw(
    network: DrawingNetwork, space: Space, labels: np.ndarray, rng: torch.Generator, progress: Progress
) -> np.ndarray:
    """Draw one image per entry of `labels`, uint8 "n h w c"."""
    network.eval()
    wanted = torch.as_tensor(labels, dtype=torch.int64, device=network.embed.weight.device)
    drawn = np.empty((len(wanted), space.size, space.size, space.channels), np.uint8)
    for start in range(0, len(wanted), DRAWN_AT_ONCE):
        part = wanted[start : start + DRAWN_AT_ONCE]
        drawn[start : start + len(part)] = _to_uint8(network(part, network.draw(len(part), rng)))
        progress(start + len(part), len(wanted))
    return drawn


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    scaled = (images.permute(0, 2, 3, 1) * 127.5 + 127.5).round()
    return scaled.to(torch.uint8).cpu().numpy()
