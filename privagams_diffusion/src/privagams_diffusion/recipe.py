"""In which stretches a diffusion model learns: from public data, from noisy means, then from members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from privagams.roles import Noise, Phase, Sums
from privagams_diffusion.adapters import is_adapter, tuned
from privagams_diffusion.central import CentralImages
from privagams_diffusion.settings import DiffusionSettings

Draw = Callable[[int, torch.Generator], Noise]


def learning(
    module: nn.Module, draw: Draw, settings: DiffusionSettings, central: CentralImages
) -> Sequence[Phase | Sums]:
    """Pre-training on the reference, central images and the warm-up on them, where set; then `train_on`.

    What comes before members trains all but the adapters, which stay a change of 0 until then. Warm-up before
    DP-SGD: Li et al. (2025), arXiv 2504.01395.

    Guarantee: members are touched by the sums and the last phase alone, whose shares add up to 1
    (test_each_recipe_has_its_phases_in_order).
    """
    phase = partial(Phase, module=module, draw=draw, batch=settings.batch, ema=settings.ema)
    parts: list[Phase | Sums] = []
    if settings.pretrain:
        parts.append(
            phase(
                name="pre-train",
                steps=settings.pretrain,
                learning_rate=settings.pretrain_learning_rate,
                data="reference",
                trains=_no_adapter,
            )
        )
    if settings.warmup:
        parts.append(central.sums())
        parts.append(
            phase(
                name="warm up",
                steps=settings.warmup,
                learning_rate=settings.warmup_learning_rate,
                data="released",
                images=central.images,
                trains=_no_adapter,
            )
        )
    share = 1.0 - settings.central_share if settings.warmup else 1.0
    parts.append(
        phase(
            name="denoise",
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            data=settings.train_on,
            share=share,
            trains=tuned(settings),
        )
    )
    return parts


def _no_adapter(name: str) -> bool:
    return not is_adapter(name)
