"""What the second noisy sum makes the fit aim at: class means of all blocks, and how far each is trusted."""

from __future__ import annotations

import torch
from attrs import frozen

from privagams.roles import Summary
from privagams_oneshot import isometry
from privagams_oneshot.scatter_blocks import Blocks, direction_groups

CHANCE = 2.0
"""Standard deviations by which a group's energy must rise above the noise's to count as signal."""


@frozen(eq=False)
class Target:
    """Means of k classes, and weights in [0, 1]: rare classes are told with more noise."""

    short: torch.Tensor
    """ "k e": linear, Fourier and pixel block."""
    weights: torch.Tensor
    """ "k e"."""
    matrix: torch.Tensor
    """ "k d d", the quadratic block as symmetric matrices, times their weights; "k 0 0" where there is none."""
    pairs: torch.Tensor
    """ "k g g", weights of the quadratic block for each pair of groups of directions."""
    groups: torch.Tensor
    """ "d", the group of each direction."""

    @classmethod
    def of(cls, summary: Summary, blocks: Blocks, caution: float) -> Target:
        sums = summary.totals[0]
        # Only the number of patients is public: classes are counted by their own noisy constant, and for no less
        # than a quarter of a fair share, lest the noise of a rare class be blown up.
        least = max(1.0, summary.patients / (4 * len(sums)))
        counts = (sums[:, :1] / blocks.roots[0]).clamp(min=least)
        _, linear, quadratic, *rest = torch.split(sums / counts, blocks.sizes, dim=1)
        noise = summary.noise_std / counts
        groups = direction_groups(linear.shape[1]).to(sums.device)
        short = torch.cat([linear, *rest], 1)
        kinds = blocks.get_buffer("kinds").to(sums.device)
        weights = _trust(short.square(), noise.square().expand_as(short), kinds) ** caution
        if not blocks.quadratic:
            none = sums.new_zeros(len(sums), 0, 0)
            return cls(short, weights, none, none, groups)
        matrix = isometry.as_matrix(quadratic, len(groups))
        pairs = _pair_trust(matrix, noise, groups) ** caution
        return cls(short, weights, matrix * pairs[:, groups][:, :, groups], pairs, groups)


def _trust(energy: torch.Tensor, noise: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Wiener weights s / (s + noise), s averaged over a class's entries of a kind: "k e" to "k e"."""
    _, index, number = torch.unique(kinds, return_inverse=True, return_counts=True)
    zeros = energy.new_zeros(len(energy), len(number))
    all_, false = (zeros.index_add(1, index, part) for part in (energy, noise))
    return _share(all_, false, number)[:, index]


def _pair_trust(matrix: torch.Tensor, noise: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """The same for pairs of groups: "k d d" to "k g g". An entry off the diagonal has half the noise."""
    member = torch.nn.functional.one_hot(groups).to(matrix.dtype)
    eye = torch.eye(len(groups), dtype=matrix.dtype, device=matrix.device)
    number = member.sum(0).outer(member.sum(0))
    energy = member.T @ matrix.square() @ member
    false = (member.T @ ((1 + eye) / 2) @ member) * noise.square()[:, :, None]
    return _share(energy, false, number / (2 - torch.eye(len(number), device=number.device)))


def _share(energy: torch.Tensor, noise: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Signal's share of the energy of `number` entries; what noise may reach by chance is taken for noise."""
    chance = 1 + CHANCE * (2 / number).sqrt()
    return (energy - noise * chance).clamp(min=0) / energy.clamp(min=1e-20)
