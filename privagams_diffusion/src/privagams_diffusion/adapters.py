"""Which weights members train: all, attention, or adapters of low rank beside frozen weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from privagams_diffusion.settings import DiffusionSettings

_ATTENTION = r".*\.attentions\.\d+\.(to_q|to_k|to_v|to_out\.0)"
_CONVS = r".*\.resnets\.\d+\.conv[12]"


def add_adapters(net: nn.Module, settings: DiffusionSettings) -> None:
    """Put W + B A in place of each adapted W, in `net` itself; B = 0, so that nothing changes yet.

    Hu et al. (2022), arXiv 2106.09685. A and B have `lora_rank` rows and columns and are not scaled, so that
    weights of an earlier run say all there is to know about its adapters.
    """
    from peft import LoraConfig, inject_adapter_in_model

    wanted = f"({_ATTENTION}|{_CONVS})" if settings.lora_convs else _ATTENTION
    inject_adapter_in_model(
        LoraConfig(
            r=settings.lora_rank, lora_alpha=settings.lora_rank, lora_dropout=0.0, target_modules=wanted
        ),
        net,
    )
    # peft freezes what it adapts, for the whole model; here each phase says what it trains.
    net.requires_grad_(True)


def is_adapter(name: str) -> bool:
    return ".lora_" in name


def tuned(settings: DiffusionSettings) -> Callable[[str], bool]:
    """Which parameters, by name, learn from members."""
    if settings.tune == "lora":
        return is_adapter
    if settings.tune == "attention":
        return lambda name: ".attentions." in name
    return lambda _: True
