"""How the first noisy sum fixes the coordinates of the second: centred, softly whitened, of radius about 1."""

from __future__ import annotations

import math

import torch
from attrs import frozen

from privagams.roles import Summary
from privagams_oneshot import isometry
from privagams_oneshot.scatter_features import HAIR

LEAST = 5e-4
"""Added to every variance; what lies far below it is not blown up."""
MARGIN = 1.2
"""Radius at which records are cut, in root mean square lengths."""


def second_moment(phi: torch.Tensor) -> torch.Tensor:
    """Give psi psi' with psi = (phi, 1)/sqrt(2): counts, means and second moments at once, norm at most 1."""
    psi = torch.cat([phi, torch.ones_like(phi[:, :1])], 1) * math.sqrt((1 - HAIR) / 2)
    out = psi.new_empty(len(psi), isometry.size(psi.shape[1]))
    isometry.write_outer(psi, out)
    return out


@frozen(eq=False)
class Whitening:
    """y = R·diag((l + floor)^(-1/4))·V'·(phi - m), cut at |y| = 1: leading directions first.

    A fourth root in place of a second: directions stay apart in weight, and none is cut off, since a network
    writes labels into whatever no feature looks at.
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    """ "d d"; row j is the direction of the j-th largest variance."""

    @classmethod
    def of(cls, summary: Summary, d: int) -> Whitening:
        """Make it from the noisy answer alone, for vectors of norm 1.

        Noise alone gives variances of up to +-`floor`. Of a direction found with l > floor, sqrt(l^2 - floor^2)
        is the members' variance along it (Benaych-Georges, Nadakuditi 2011, arXiv 0910.2120); of all others
        only the sum is known.
        """
        matrix = isometry.as_matrix(summary.totals[0, 0].double() / (1 - HAIR), d + 1) * 2
        count = matrix[-1, -1].clamp(min=max(1.0, summary.patients / 4))
        mean = matrix[-1, :-1] / count
        values, vectors = torch.linalg.eigh(matrix[:-1, :-1] / count - mean.outer(mean))
        values, vectors = values.flip(0), vectors.flip(1)
        floor = 2 * math.sqrt(2 * d) * summary.noise_std / float(count)
        variance = (values.square() - floor**2).clamp(min=0).sqrt() * (values > floor)
        root = (variance + floor + LEAST).pow(-0.25)
        # Records have norm 1, so that the length of the mean tells the whole variance; the trace is far noisier.
        error = 2 * d * (summary.noise_std / count) ** 2
        whole = 1 - mean.square().sum() + error
        rest = (whole - variance.sum()).clamp(min=0) / math.sqrt(floor + LEAST)
        # The mean is off by its own noise, and so are all y.
        square = rest + (variance * root.square()).sum() + error * root.square().mean()
        radius = MARGIN * square.sqrt().clamp(min=1e-3)
        return cls(mean.float(), (root[:, None] * vectors.T / radius).float())

    def __call__(self, phi: torch.Tensor) -> torch.Tensor:
        """Bring phi "n d" into these coordinates; |y| <= 1."""
        y: torch.Tensor = (phi - self.mean.to(phi.device)) @ self.matrix.T.to(phi.device)
        cut: torch.Tensor = y * ((1 - HAIR) / y.norm(dim=1, keepdim=True).clamp(min=1.0))
        return cut
