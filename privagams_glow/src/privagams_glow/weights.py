"""Whether saved weights are those of this architecture, and whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from privagams.errors import StageError

_LISTED = 4


def require_fitting(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    """Raise `StageError` that names what differs in name or shape, or holds numbers that no training leaves."""
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in own]
    wrong += [
        f"{name}: expected {_kind(own[name])}, found {_kind(state[name])}"
        for name in own
        if name in state and _kind(own[name]) != _kind(state[name])
    ]
    if wrong:
        raise StageError(
            f"glow weights: expected those of this architecture, found others ({_some(wrong)}); use the "
            "settings (levels, depth, width), the image size and the classes that they were trained with"
        )
    damaged = [name for name, tensor in state.items() if not _sound(name, tensor)]
    if damaged:
        raise StageError(
            f"glow weights: expected finite numbers and whole permutations, found a damaged {_some(damaged)}; "
            "restore the file, or train anew"
        )


def _kind(tensor: torch.Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()


def _sound(name: str, tensor: torch.Tensor) -> bool:
    """An invertible 1×1 convolution is one only while its fixed parts are a permutation and signs."""
    if name.endswith(".order"):
        return torch.equal(tensor.sort(1).values, torch.arange(tensor.shape[1]).expand_as(tensor))
    if name.endswith(".sign"):
        return bool((tensor.abs() == 1).all())
    return bool(torch.isfinite(tensor).all())


def _some(wrong: list[str]) -> str:
    more = len(wrong) - _LISTED
    return "; ".join(wrong[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
