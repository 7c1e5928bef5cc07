"""The affine coupling: one half of the channels is scaled and shifted by what a small network makes of the other."""

from __future__ import annotations

import torch
from torch import nn

from privagams_glow.neighbours import gather, spread

LOG_SCALE_BOUND = 2.0
"""A coupling scales by at most e², so that no weights can make one step overflow."""


class Coupling(nn.Module):
    """y = (x₁, (x₂ + t) e^s) with (t, s) of x₁ by convolutions 3×3, 1×1, 3×3; |s| ≤ 2, s = t = 0 to begin with.

    Tensors are "c h w n".
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.near = nn.Linear(9 * (channels // 2), width)
        self.middle = nn.Linear(width, width)
        self.far = nn.Parameter(torch.zeros(9 * channels, width))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Y, and s summed over each image, "n"."""
        known, bent = x.chunk(2)
        shift, log_scale = self._bend(known)
        return torch.cat((known, (bent + shift) * log_scale.exp())), log_scale.sum((0, 1, 2))

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        known, bent = y.chunk(2)
        shift, log_scale = self._bend(known)
        return torch.cat((known, bent * (-log_scale).exp() - shift))

    def _bend(self, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = gather(known)
        sent = self._sent if torch.is_grad_enabled() else self._sent_quickly
        found = spread(sent(near.flatten(1).t()).reshape(-1, *near.shape[1:]))
        shift, raw = (found + self.offset[:, None, None, None]).chunk(2)
        return shift, LOG_SCALE_BOUND * torch.tanh(raw * (1 / LOG_SCALE_BOUND))

    def _sent(self, near: torch.Tensor) -> torch.Tensor:
        """What each position sends to its neighbours, "9c positions", from neighbourhoods "positions 9c/2"."""
        hidden = torch.relu(self.middle(torch.relu(self.near(near))))
        return self.far @ hidden.t()

    def _sent_quickly(self, near: torch.Tensor) -> torch.Tensor:
        """The same with a third less traffic through memory, where no gradient is wanted.

        relu(a + b) = max(a, −b) + b: the bias b moves into the next layer's, and one pass in place is left.
        """
        hidden = (near @ self.near.weight.t()).clamp_(min=-self.near.bias)
        bias = self.middle.weight @ self.near.bias + self.middle.bias
        hidden = (hidden @ self.middle.weight.t()).clamp_(min=-bias)
        return self.far @ hidden.t() + (self.far @ bias)[:, None]
