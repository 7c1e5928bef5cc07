"""Which layers are run on all patients' records in one call, their weights' gradients kept apart by patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Sides = list[int]
_backward = torch.ops.aten.convolution_backward
_norm, _norm_backward = torch.ops.aten.native_group_norm, torch.ops.aten.native_group_norm_backward


class PatientLayers(TorchFunctionMode):
    """Inside `vmap` over patients whose parameters are one expanded copy each: runs these layers on flat records.

    `vmap` by itself turns convolutions with a weight per patient into grouped ones, and loops over patients in
    attention. Every layer here treats each record alone, so that running several patients' records together mixes
    nothing; what is of another form than expected takes `vmap`'s own way.

    Guarantee: no patient's record reaches another patient's gradient
    (test_per_patient_gradients_equal_a_looped_reference, test_no_record_reaches_another_patients_gradient).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = _RULES.get(func)
        return (rule or func)(*args, **(kwargs or {}))


def _conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> torch.Tensor:
    if input.ndim != 4 or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    found: torch.Tensor = _apply(
        _Conv, input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups
    )
    return found


def _group_norm(
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    # Under autocast the input may be coarser than the parameters; norms are taken in the parameters' type.
    rows = input if weight is None else input.to(weight.dtype)
    found: torch.Tensor = _apply(_Norm, rows, weight, bias, num_groups, eps)
    return found


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **settings: Any
) -> torch.Tensor:
    # Without an axis of records between patients and positions, flattening would let patients attend to each other.
    if rest or settings.get("attn_mask") is not None or query.ndim < 3 or not _alike(query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, *rest, **settings)
    found: torch.Tensor = _apply(_Attention, query, key, value, settings)
    return found


_RULES: dict[Any, Callable[..., torch.Tensor]] = {
    torch.conv2d: _conv2d,
    functional.group_norm: _group_norm,
    functional.scaled_dot_product_attention: _attention,
}


class _Conv(Function):
    @staticmethod
    def forward(x: Any, weight: Any, bias: Any, *how: Any) -> Any:
        return torch.conv2d(x, weight, bias, *how)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Any, x: Any, weight: Any, bias: Any, *how: Any) -> Any:
        patients = info.batch_size
        x, weight, bias = _led([x, weight, bias], dims, patients)
        if not _same(weight) or not _same(bias):
            return torch.vmap(torch.conv2d, (0, 0, None if bias is None else 0, *[None] * 4))(
                x, weight, bias, *how
            ), 0
        return _apply(_SharedConv, x.flatten(0, 1), weight, bias, how).unflatten(0, (patients, -1)), 0


class _SharedConv(Function):
    """A convolution by the first of equal weights "patients ..."; each weight's gradient is its patient's own."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, how: Any) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.bias = how, bias is not None
        return torch.conv2d(x, weight[0], None if bias is None else bias[0], *how)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, weight = ctx.saved_tensors
        patients, (needs_x, needs_weight, needs_bias, _) = len(weight), ctx.needs_input_grad
        of_x = of_weight = of_bias = None
        if needs_x:
            of_x = _conv_gradients(g, x, weight[0], ctx.how, [True, False, False])[0]
        if needs_weight:
            # A loop is as fast as one convolution grouped by patients on a CPU, and needs no copies.
            pairs = zip(g.chunk(patients), x.chunk(patients), strict=True)
            of_weight = torch.stack(
                [_conv_gradients(*pair, weight[0], ctx.how, [False, True, False])[1] for pair in pairs]
            )
        if ctx.bias and needs_bias:
            of_bias = g.to(weight.dtype).sum((2, 3)).unflatten(0, (patients, -1)).sum(1)
        return of_x, of_weight, of_bias, None


class _Norm(Function):
    @staticmethod
    def forward(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
        return functional.group_norm(x, groups, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Any, x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
        patients = info.batch_size
        x, weight, bias = _led([x, weight, bias], dims, patients)
        rows = x.flatten(0, 1).contiguous()
        if weight is not None and bias is not None and _same(weight) and _same(bias):
            return _apply(_SharedNorm, rows, weight, bias, groups, eps).unflatten(0, (patients, -1)), 0
        found: Any = functional.group_norm(rows, groups, None, None, eps)
        found = found.unflatten(0, (patients, -1))
        across = (patients, 1, -1, *[1] * (x.ndim - 3))
        found = found if weight is None else found * weight.reshape(across)
        return found if bias is None else found + bias.reshape(across), 0


class _SharedNorm(Function):
    """GroupNorm by the first of equal weights "patients c"; each weight's gradient is its patient's own."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
        rows, channels = x.shape[:2]
        found, mean, scale = _norm(x, weight[0], bias[0], rows, channels, x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, mean.view(rows, groups), scale.view(rows, groups), weight)
        ctx.groups = groups
        return found

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        *saved, weight = ctx.saved_tensors
        patients, channels = weight.shape
        chunks = zip(*(t.chunk(patients) for t in (g.contiguous(), *saved)), strict=True)
        parts = [
            _norm_backward(
                *own, weight[0], len(own[0]), channels, own[0][0, 0].numel(), ctx.groups, [True] * 3
            )
            for own in chunks
        ]
        of_x, of_weight, of_bias = zip(*parts, strict=True)
        return torch.cat(of_x), torch.stack(of_weight), torch.stack(of_bias), None, None


class _Attention(Function):
    @staticmethod
    def forward(query: Any, key: Any, value: Any, settings: Any) -> Any:
        return functional.scaled_dot_product_attention(query, key, value, **settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Any, query: Any, key: Any, value: Any, settings: Any) -> Any:
        patients = info.batch_size
        rows = [t.flatten(0, 1) for t in _led([query, key, value], dims, patients)]
        found: Any = functional.scaled_dot_product_attention(*rows, **settings)
        return found.unflatten(0, (patients, -1)), 0


def _conv_gradients(g: Any, x: Any, weight: Any, how: Any, wanted: list[bool]) -> Any:
    stride, padding, dilation, groups = how
    # Under autocast g is coarser than what the layer was given; gradients are of the type of what they belong to.
    inputs, kernel = x.to(g.dtype), weight.to(g.dtype)
    of_x, of_weight, _ = _backward(
        g, inputs, kernel, None, stride, padding, dilation, False, [0, 0], groups, wanted
    )
    return [
        found if found is None else found.to(given.dtype) for found, given in ((of_x, x), (of_weight, weight))
    ]


def _led(tensors: Sequence[Any], dims: Sequence[Any], patients: int) -> list[Any]:
    """Each tensor with patients as its first axis; what is the same for all is expanded."""
    return [
        None if t is None else t.expand(patients, *t.shape) if d is None else t.movedim(d, 0)
        for t, d in zip(tensors, dims, strict=False)
    ]


def _same(expanded: torch.Tensor | None) -> bool:
    """Whether all patients' entries are the same memory: an expanded parameter, not one made of records."""
    return expanded is None or len(expanded) == 1 or expanded.stride(0) == 0


def _alike(*tensors: torch.Tensor) -> bool:
    return len({t.shape[:-2] for t in tensors}) == 1


def _apply(rule: Any, *inputs: Any) -> Any:
    return rule.apply(*inputs)


def _pair(value: int | Sequence[int]) -> Sides:
    return [value, value] if isinstance(value, int) else list(value)
