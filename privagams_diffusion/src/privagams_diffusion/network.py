"""The denoising U-Net: its parts, how pixels are folded for it, and in which numbers it computes."""

from __future__ import annotations

import math

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.unets.unet_2d import UNet2DModel
from torch.nn import functional

from privagams.errors import ConfigError
from privagams.roles import Space
from privagams_diffusion.settings import NORM_GROUPS, DiffusionSettings


def make_network(settings: DiffusionSettings, space: Space) -> UNet2DModel:
    """A U-Net of GroupNorm, without dropout; one class index more than there are classes, for "not told"."""
    _check_size(settings, space)
    folded = space.channels * settings.patch**2
    net: UNet2DModel = UNet2DModel(
        sample_size=space.size // settings.patch,
        in_channels=folded,
        out_channels=folded,
        block_out_channels=settings.channels,
        down_block_types=("DownBlock2D",) * len(settings.channels),
        up_block_types=("UpBlock2D",) * len(settings.channels),
        layers_per_block=settings.layers,
        norm_num_groups=NORM_GROUPS,
        add_attention=settings.attention,
        attention_head_dim=math.gcd(32, settings.channels[-1]),
        num_class_embeds=len(space.classes) + 1 if space.classes else None,
    )
    for module in net.modules():
        if isinstance(module, Attention):
            # Plain matrix products: torch's fused attention has no rule for vmap and becomes a slow loop.
            module.set_processor(AttnProcessor())
    return net


def apply_network(
    net: UNet2DModel,
    settings: DiffusionSettings,
    noisy: torch.Tensor,
    condition: torch.Tensor,
    labels: torch.Tensor | None,
) -> torch.Tensor:
    """The network's answer to `noisy` "n c h w", float32 whatever the numbers inside."""
    # Pixels are folded into channels: a quarter of the work at patch = 2, and noise stays independent.
    folded = functional.pixel_unshuffle(noisy, settings.patch)
    with torch.autocast(noisy.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        output = net(folded, condition, labels).sample
    return functional.pixel_shuffle(output.float(), settings.patch)


def _check_size(settings: DiffusionSettings, space: Space) -> None:
    fold = settings.patch * 2 ** (len(settings.channels) - 1)
    if space.size % fold:
        raise ConfigError(
            f"diffusion: {len(settings.channels)} widths in channels and patch = {settings.patch} need "
            f"images whose size is a multiple of {fold} px, found {space.size} px; change tiles.size to "
            f"{-(-space.size // fold) * fold}, or give fewer widths in channels or a smaller patch"
        )
