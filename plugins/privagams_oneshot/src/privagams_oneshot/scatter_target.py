"""What the second noisy sum makes the fit aim at: class means of all blocks, and how far each is trusted."""

from __future__ import annotations

import torch
from attrs import frozen

from privagams.roles import Summary
from privagams_oneshot import isometry
from privagams_oneshot.scatter_blocks import DIRECTIONS, Blocks


@frozen(eq=False)
class Target:
    """Means of k classes, and weights in [0, 1] that all classes share."""

    short: torch.Tensor
    """ "k e": linear, Fourier and pixel block."""
    weights: torch.Tensor
    """ "e"."""
    matrix: torch.Tensor
    """ "k d d", the quadratic block as symmetric matrices, times their weights; "k 0 0" where there is none."""
    pairs: torch.Tensor
    """ "g g", weights of the quadratic block for each pair of groups of directions."""
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
        kinds = torch.cat([groups, *(torch.full_like(part[0], 99 + n).long() for n, part in enumerate(rest))])
        weights = _trust(short.square(), noise.square().expand_as(short), kinds) ** caution
        if not blocks.quadratic:
            none = sums.new_zeros(len(sums), 0, 0)
            return cls(short, weights, none, none[0], groups)
        matrix = isometry.as_matrix(quadratic, len(groups))
        pairs = _pair_trust(matrix, noise, groups) ** caution
        return cls(short, weights, matrix * pairs[groups][:, groups], pairs, groups)


def direction_groups(d: int) -> torch.Tensor:
    """Number directions, which come by falling variance, in groups of growing size: int64 "d"."""
    numbers = torch.arange(len(DIRECTIONS)).repeat_interleave(torch.tensor(DIRECTIONS))[:d]
    return torch.cat([numbers, torch.full((max(0, d - len(numbers)),), len(DIRECTIONS))])


def _trust(energy: torch.Tensor, noise: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Wiener weights s / (s + noise), s averaged over entries of a kind and over classes: "k e" to "e"."""
    _, index = torch.unique(kinds, return_inverse=True)
    zeros = energy.new_zeros(int(index.max()) + 1)
    all_, false = (zeros.index_add(0, index, part.sum(0)) for part in (energy, noise))
    return ((all_ - false).clamp(min=0) / all_.clamp(min=1e-20))[index]


def _pair_trust(matrix: torch.Tensor, noise: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """The same for pairs of groups: "k d d" to "g g". An entry off the diagonal has half the noise."""
    member = torch.nn.functional.one_hot(groups).to(matrix.dtype)
    eye = torch.eye(len(groups), dtype=matrix.dtype, device=matrix.device)
    energy = member.T @ matrix.square().sum(0) @ member
    false = member.T @ ((1 + eye) / 2 * noise.square().sum()) @ member
    return (energy - false).clamp(min=0) / energy.clamp(min=1e-20)
