"""How a patient's one gradient is computed: `vmap` over patients of the mean loss of a patient's draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from privagams.errors import PluginError, StageError
from privagams.roles import Batch, Noise
from privagams.training.patient_layers import PatientLayers

Gradients = list[torch.Tensor]


def trained_parameters(
    module: torch.nn.Module, trains: Callable[[str], bool]
) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that a phase trains, by name."""
    return {name: p for name, p in module.named_parameters() if trains(name)}


def refuse_mixing_layers(module: torch.nn.Module, phase: str) -> None:
    """Raise `StageError` where record i's loss would depend on record j, or on what a generator did not draw.

    Guarantee: no statistic of one patient's records reaches another's gradient except through the noisy sum
    (test_a_network_with_batch_statistics_is_refused_by_name).
    """
    for name, layer in module.named_modules():
        if _mixes_records(layer):
            raise StageError(
                f"phase {phase!r}, layer {name or type(layer).__name__!r} ({type(layer).__name__}): expected "
                "layers that treat each record alone, found one that mixes records or keeps statistics of "
                "earlier ones; use GroupNorm, or freeze it in eval mode with statistics from public data"
            )
        if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
            raise StageError(
                f"phase {phase!r}, layer {name!r}: expected all randomness to come from `draw`, found "
                f"dropout with p = {layer.p}; set it to 0"
            )


def _mixes_records(layer: torch.nn.Module) -> bool:
    if isinstance(layer, _BatchNorm):
        return layer.training or layer.running_mean is None
    return isinstance(layer, _InstanceNorm) and layer.training and layer.track_running_stats


class PatientGradients:
    """Gradients of a module's loss, one per patient, as tensors "b ..." in the order of `names`.

    g_i = ∇ mean_{j ≤ m·K} loss(record_ij, noise_ij): averaged inside the patient, before any clipping, so
    that neither the number of tiles nor of noise draws raises a patient's weight.
    """

    def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
        self._module = module
        self._names = list(names)
        self._losses = vmap(self._loss, in_dims=(0, None, 0, 0))

    def __call__(self, batch: Batch, noise: Noise, patients: int) -> Gradients:
        """`batch` and `noise` hold `patients` runs of equal length, one after the other."""
        state = {k: v.detach() for k, v in (*self._module.named_parameters(), *self._module.named_buffers())}
        # A copy of the parameters for each patient, all of one memory: a patient's loss depends on its own alone, so
        # that the gradient of the losses' sum has one row for each.
        trained = {n: state.pop(n).expand(patients, *p.shape).requires_grad_() for n, p in self._trained()}
        with _known_vmap_fallback(), PatientLayers():
            losses = self._losses(trained, state, _runs(batch, patients), _runs(noise, patients))
        found = torch.autograd.grad(losses.sum(), list(trained.values()), materialize_grads=True)
        return list(found)

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        parameters = dict(self._module.named_parameters())
        yield from ((name, parameters[name]) for name in self._names)

    def _loss(
        self,
        trained: Mapping[str, torch.Tensor],
        rest: Mapping[str, torch.Tensor],
        batch: Batch,
        noise: Noise,
    ) -> torch.Tensor:
        return checked_losses(
            functional_call(self._module, {**rest, **trained}, (batch, noise)), batch
        ).mean()


def checked_losses(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Raise `PluginError` unless there is one loss for each record."""
    expected = (len(batch["pixels"]),)
    if tuple(losses.shape) != expected:
        raise PluginError(
            f"generator's phase: expected one loss per record, shape {expected}, found {tuple(losses.shape)}"
            "; average over pixels and channels, never over records"
        )
    return losses


@contextmanager
def memory_hint(setting: str) -> Iterator[None]:
    """Turn a failed allocation into a `StageError` that says which setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
            raise StageError(
                f"training: expected a step to fit into memory, and it did not; lower {setting}"
            ) from error
        raise


def _runs(tensors: Mapping[str, torch.Tensor], patients: int) -> dict[str, torch.Tensor]:
    return {name: t.reshape(patients, -1, *t.shape[1:]) for name, t in tensors.items()}


@contextmanager
def _known_vmap_fallback() -> Iterator[None]:
    """Attention has no batching rule and is looped over patients: slower, equal in value."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message=r"(?s).*performance drop.*batching rule for aten::_scaled_dot_product",
            category=UserWarning,
        )
        yield
