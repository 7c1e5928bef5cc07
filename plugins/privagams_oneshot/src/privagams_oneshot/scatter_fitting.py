"""How far drawn images are from the target: an unbiased distance that never builds the long vectors."""

from __future__ import annotations

import torch

from privagams_oneshot.fitting import distance
from privagams_oneshot.scatter_target import Target


def scatter_distance(y: torch.Tensor, short: torch.Tensor, target: Target) -> torch.Tensor:
    """Weighted |E e - target|^2 - |target|^2, unbiased: y "k b d" and short blocks "k b e" to "k"."""
    root = target.weights.sqrt()
    apart = distance(short * root[:, None], target.short * root)
    return apart + _quadratic(y, target) if target.pairs.numel() else apart


def _quadratic(y: torch.Tensor, target: Target) -> torch.Tensor:
    """The same of y (x) y, through Gram matrices: <y (x) y, z (x) z> is the sum over pairs of groups of the
    product of both groups' inner products.
    """
    b = y.shape[1]
    sizes = target.groups.bincount().tolist()
    grams = torch.stack([part @ part.transpose(1, 2) for part in torch.split(y, sizes, dim=2)])
    kernel = torch.einsum("gkij,kgh,hkij->kij", grams, target.pairs, grams)
    pairs = (kernel.sum((1, 2)) - kernel.diagonal(dim1=1, dim2=2).sum(1)) / (b * (b - 1))
    return pairs - 2 * ((y @ target.matrix) * y).sum((1, 2)) / b
