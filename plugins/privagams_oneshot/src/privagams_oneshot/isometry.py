"""How the matrix v v' is stored once: d(d+1)/2 entries, in which inner products stay what they are."""

from __future__ import annotations

import math

import torch


def size(d: int) -> int:
    return d * (d + 1) // 2


def write_outer(v: torch.Tensor, out: torch.Tensor) -> None:
    """Write the upper triangle of v v' of each row of `v` "n d", row by row, into `out` "n d(d+1)/2".

    Off the diagonal times sqrt(2), so that <out(v), out(w)> = <v, w>^2 and |out(v)| = |v|^2.
    """
    d, at = v.shape[1], 0
    double = v * math.sqrt(2)
    for row in range(d):
        out[:, at] = v[:, row].square()
        # Straight into its place: these vectors are long, and every copy of them costs.
        torch.mul(v[:, row + 1 :], double[:, row : row + 1], out=out[:, at + 1 : at + d - row])
        at += d - row


def as_matrix(vector: torch.Tensor, d: int) -> torch.Tensor:
    """Undo it: "... d(d+1)/2" to symmetric "... d d", so that <out(v), vector> = v' M v."""
    row, column = torch.triu_indices(d, d, device=vector.device)
    entries = torch.where(row == column, vector, vector / math.sqrt(2))
    matrix = vector.new_empty(*vector.shape[:-1], d, d)
    matrix[..., row, column] = entries
    matrix[..., column, row] = entries
    return matrix
