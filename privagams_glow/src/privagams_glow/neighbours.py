"""How a 3×3 convolution becomes a matrix product: by gathering, or by spreading, what lies side by side.

Tensors are "c h w n", images last: channels are rows of a matrix, halves of them lie in one piece, and a shift by
a pixel moves whole runs of memory. Convolution kernels of processors are made for many channels on both sides; a
coupling network has two or four on one. And gradients per patient, taken by `vmap`, stay matrix products, where
convolutions become slow grouped ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def gather(x: torch.Tensor) -> torch.Tensor:
    """Turn "c h w n" into "9c h w n": each position with its eight neighbours, zero outside the image."""
    if not torch.is_grad_enabled():
        return _gathered(x[None])[0]
    found: torch.Tensor = _Gather.apply(x[None])[0]  # type: ignore[no-untyped-call]
    return found


def spread(x: torch.Tensor) -> torch.Tensor:
    """Turn "9c h w n" into "c h w n": the sum of what neighbours hold for a position. Adjoint of `gather`."""
    if not torch.is_grad_enabled():
        return _spread(x[None])[0]
    found: torch.Tensor = _Spread.apply(x[None])[0]  # type: ignore[no-untyped-call]
    return found


def _gathered(x: torch.Tensor) -> torch.Tensor:
    """`gather` for several patients, "b c h w n"."""
    b, c, h, w, n = x.shape
    padded = functional.pad(x, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(2, h, 1).unfold(3, w, 1)
    return windows.permute(0, 2, 3, 1, 5, 6, 4).reshape(b, 9 * c, h, w, n)


def _spread(x: torch.Tensor) -> torch.Tensor:
    """`spread` for several patients, "b 9c h w n"."""
    b, c, h, w, n = len(x), x.shape[1] // 9, *x.shape[2:]
    total = x.new_zeros(b, c, h + 2, w + 2, n)
    for place, part in enumerate(x.reshape(b, 9, c, h, w, n).unbind(1)):
        # In place, but on memory of this call alone: autograd and `vmap` see one operation.
        total.narrow(2, place // 3, h).narrow(3, place % 3, w).add_(part)
    return total[:, :, 1:-1, 1:-1]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return _gathered(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _Spread.apply(gradient)  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return _beside(_Gather, x, in_dims[0])


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        # A copy, because a view of memory that only this call knows must not be handed to autograd.
        return _spread(x).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _Gather.apply(gradient)  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return _beside(_Spread, x, in_dims[0])


def _beside(function: Any, x: torch.Tensor, axis: int) -> tuple[torch.Tensor, int]:
    """Patients first, each in one piece of memory, so that products of all their rows need no copy."""
    x = x.movedim(axis, 0)
    return function.apply(x.flatten(0, 1)).unflatten(0, x.shape[:2]), 0
