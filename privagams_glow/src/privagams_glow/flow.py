"""One level of the flow, and the prior of what leaves it. Tensors are "c h w n"."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from privagams_glow.coupling import Coupling
from privagams_glow.neighbours import gather

Watch = Callable[[str, torch.Tensor], None]
"""Called with a block's name and its output "c h w n"."""

GAIN = 3.0
"""Scales and shifts of whole channels count threefold: the optimiser moves every number by about the same step,
and without a start from data these have the furthest to go."""

LOG_SD_BOUND = 8.0
"""Of a prior, so that none can overflow by itself."""


def unwatched(block: str, output: torch.Tensor) -> None:
    """Watch nothing."""


class Level(nn.Module):
    """`depth` steps of: scale and shift per channel, invertible 1×1 convolution, affine coupling.

    Shift, scale and convolution are one affine map x ↦ A (x + b) of the channels, A = P L U diag(e^s): unit lower
    triangular L, upper triangular U with diagonal ± e^u, and P a fixed permutation. ln |det A| = Σ u + Σ s.
    Shifts come before scales, here and in the couplings: what is centred stays so while its scale is learnt.
    Kingma and Dhariwal (2018), arXiv 1807.03039; no layer is initialised from data.
    """

    order: torch.Tensor
    sign: torch.Tensor

    def __init__(self, channels: int, depth: int, width: int) -> None:
        super().__init__()
        self.depth = depth
        rotations = torch.linalg.qr(torch.randn(depth, channels, channels, dtype=torch.float64))[0]
        permutation, lower, upper = torch.linalg.lu(rotations)
        diagonal = upper.diagonal(dim1=1, dim2=2)
        self.register_buffer("order", permutation.argmax(2))
        self.register_buffer("sign", diagonal.sign().float())
        self.triangles = nn.Parameter((lower.tril(-1) + upper.triu(1)).float())
        self.log_diagonal = nn.Parameter(diagonal.abs().log().float())
        self.log_scale = nn.Parameter(torch.zeros(depth, channels))
        self.shift = nn.Parameter(torch.zeros(depth, channels))
        self.couplings = nn.ModuleList(Coupling(channels, width) for _ in range(depth))

    def forward(self, x: torch.Tensor, watch: Watch = unwatched) -> tuple[torch.Tensor, torch.Tensor]:
        """Towards the latents: "c h w n" to the same shape and ln |det| "n"."""
        positions = x.shape[1] * x.shape[2]
        volume = (self.log_diagonal.sum() + GAIN * self.log_scale.sum()) * positions
        matrices = self._matrices()
        shifts = (matrices @ (GAIN * self.shift)[:, :, None])[:, :, 0]
        steps = zip(matrices.unbind(), shifts.unbind(), self.couplings, strict=True)
        for number, (matrix, shift, coupling) in enumerate(steps):
            x, more = coupling(_mixed(matrix, shift, x))
            volume = volume + more
            watch(f"step {number + 1}", x)
        return x, volume

    def inverse(self, x: torch.Tensor, watch: Watch = unwatched) -> torch.Tensor:
        """Back towards the image."""
        # In double precision, or the round trip would carry the error of every inverse.
        inverses = torch.linalg.inv_ex(self._matrices().double())[0]
        shifts = -GAIN * self.shift
        inverses = inverses.to(x.dtype)
        for number in reversed(range(self.depth)):
            coupling = self.couplings[number]
            assert isinstance(coupling, Coupling)
            x = _mixed(inverses[number], shifts[number], coupling.inverse(x))
            watch(f"step {number + 1}", x)
        return x

    def _matrices(self) -> torch.Tensor:
        """A of all steps at once, "depth c c"."""
        eye = torch.eye(self.triangles.shape[1], dtype=self.triangles.dtype, device=self.triangles.device)
        lower = self.triangles.tril(-1) + eye
        upper = self.triangles.triu(1) + torch.diag_embed(self.sign * self.log_diagonal.exp())
        permuted = (lower @ upper).gather(1, self.order[:, :, None].expand_as(lower))
        return permuted * (GAIN * self.log_scale).exp()[:, None, :]


class SplitPrior(nn.Module):
    """N(μ, σ²) of the half that leaves, by a 3×3 convolution of the half that stays; N(0, 1) to begin with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 9 * (channels // 2)))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, stays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """μ and ln σ, each "c/2 h w n"."""
        mean, log_sd = _mixed(self.weight, self.bias, gather(stays)).chunk(2)
        return mean, bounded_log_sd(log_sd)


def bounded_log_sd(raw: torch.Tensor) -> torch.Tensor:
    """Ln σ, softly bounded."""
    return LOG_SD_BOUND * torch.tanh(raw * (GAIN / LOG_SD_BOUND))


def squeeze(x: torch.Tensor) -> torch.Tensor:
    """Fold 2×2 px into channels: "c h w n" to "4c h/2 w/2 n"."""
    c, h, w, n = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2, n).permute(2, 4, 0, 1, 3, 5).reshape(4 * c, h // 2, w // 2, n)


def unsqueeze(x: torch.Tensor) -> torch.Tensor:
    """Unfold what `squeeze` folded."""
    c, h, w, n = x.shape
    return x.reshape(2, 2, c // 4, h, w, n).permute(2, 3, 0, 4, 1, 5).reshape(c // 4, 2 * h, 2 * w, n)


def _mixed(matrix: torch.Tensor, shift: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """An affine map of the channels."""
    return torch.addmm(shift[:, None], matrix, x.flatten(1)).reshape(-1, *x.shape[1:])
