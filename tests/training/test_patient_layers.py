"""Per-patient gradients of layers in every form, against a loop over patients."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from privagams.training import patient_layers
from privagams.training.gradients import PatientGradients

PATIENTS, ROWS = 3, 2


class Loss(nn.Module):
    """A layer's squared output, one loss per record."""

    def __init__(self, layer, channels=4):
        super().__init__()
        self.before = nn.Conv2d(1, channels, 3, padding=1)
        self.layer = layer

    def forward(self, batch, noise):
        return (self.layer(self.before(batch["pixels"])) + 1).square().flatten(1).mean(1)


class Attention(nn.Module):
    """Attention between positions, with or without an axis for heads."""

    def __init__(self, heads, mask=False, causal=False):
        super().__init__()
        self.mix, self.heads, self.mask, self.causal = nn.Linear(4, 12), heads, mask, causal

    def forward(self, x):
        parts = self.mix(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        if self.heads:
            parts = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts]
        mask = torch.ones(64, 64).tril().bool() if self.mask else None
        return functional.scaled_dot_product_attention(*parts, attn_mask=mask, is_causal=self.causal)


class OneMap(nn.Module):
    """Attention between the records of one patient: there is no other axis than records and features."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(256, 8)

    def forward(self, x):
        rows = self.mix(x.flatten(1))
        return functional.scaled_dot_product_attention(rows, rows, rows)


class Hyper(nn.Module):
    """A convolution and a norm whose weights are made of the patient's own records."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x):
        own = x.mean((0, 2, 3))
        mixed = functional.conv2d(x, self.weight * own[:, None, None], self.scale, padding=1)
        return functional.group_norm(mixed, 2, self.scale * own, self.scale)


class Standardised(nn.Module):
    """A convolution with weights of unit norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x):
        return functional.conv2d(x, self.weight / self.weight.square().sum((1, 2, 3), keepdim=True))


class ChannelsLast(nn.Module):
    """What attention leaves behind, and what makes hooks read the wrong memory."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)

    def forward(self, x):
        turned = x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2).view(x.shape)
        return self.norm(functional.silu(self.conv(turned)))


class Twice(nn.Module):
    """One weight in two places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(torch.tanh(self.conv(x)))


LAYERS = {
    "stride, dilation, groups": lambda: nn.Conv2d(4, 8, 3, stride=2, padding=2, dilation=2, groups=2),
    "without bias": lambda: nn.Conv2d(4, 4, 1, bias=False),
    "padding in words": lambda: nn.Conv2d(4, 4, 3, padding="same"),
    "padding mode": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 2, stride=2),
    "one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 3)),
    "norm": lambda: nn.GroupNorm(2, 4),
    "norm without weights": lambda: nn.GroupNorm(2, 4, affine=False),
    "norm without images": lambda: nn.Sequential(nn.Flatten(), nn.GroupNorm(4, 256)),
    "attention": lambda: Attention(2),
    "attention without heads": lambda: Attention(0),
    "causal attention": lambda: Attention(2, causal=True),
    "attention with a mask": lambda: Attention(2, mask=True),
    "attention without rows": OneMap,
    "weights of records": Hyper,
    "weights of unit norm": Standardised,
    "channels last": ChannelsLast,
    "twice": Twice,
}


def given(seed=1):
    return {"pixels": torch.randn(PATIENTS * ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(seed))}


def looped(module, names, batch):
    parameters = dict(module.named_parameters())
    for i in range(PATIENTS):
        loss = module({"pixels": batch["pixels"][ROWS * i : ROWS * (i + 1)]}, {}).mean()
        yield torch.autograd.grad(loss, [parameters[n] for n in names])


def assert_equal_to_a_loop(module, names):
    found = PatientGradients(module, names)(given(), {}, PATIENTS)
    for i, expected in enumerate(looped(module, names, given())):
        norm = torch.sqrt(sum(g.square().sum() for g in expected))
        error = torch.sqrt(sum((f[i] - g).square().sum() for f, g in zip(found, expected, strict=True)))
        assert error <= 1e-5 * norm


@pytest.mark.parametrize("form", LAYERS)
def test_gradients_of_every_form_of_a_layer_equal_a_looped_reference(form):
    torch.manual_seed(0)
    module = Loss(LAYERS[form]())
    assert_equal_to_a_loop(module, [n for n, _ in module.named_parameters()])


@pytest.mark.parametrize("form", ["norm", "stride, dilation, groups", "attention", "twice"])
@pytest.mark.parametrize("trained", ["before", "layer", "weight", "bias"])
def test_frozen_parameters_leave_the_others_gradients_as_they_are(form, trained):
    torch.manual_seed(0)
    module = Loss(LAYERS[form]())
    assert_equal_to_a_loop(module, [n for n, _ in module.named_parameters() if trained in n])


@pytest.mark.parametrize("form", LAYERS)
def test_no_record_reaches_another_patients_gradient(form):
    torch.manual_seed(0)
    module = Loss(LAYERS[form]())
    names, changed = [n for n, _ in module.named_parameters()], given()
    changed["pixels"][ROWS : 2 * ROWS] = float("nan")
    before, after = (PatientGradients(module, names)(batch, {}, PATIENTS) for batch in (given(), changed))
    for i in (0, 2):
        assert all(torch.equal(b[i], a[i]) for b, a in zip(before, after, strict=True))
    assert all(a[1].isnan().any() for a in after)


@pytest.mark.parametrize("form", ["norm", "stride, dilation, groups", "attention", "causal attention"])
def test_the_common_forms_are_run_in_one_call(form, monkeypatch):
    """Without this, speed could be lost in silence."""
    torch.manual_seed(0)
    module, seen = Loss(LAYERS[form]()), []
    apply = patient_layers._apply
    monkeypatch.setattr(patient_layers, "_apply", lambda rule, *rest: seen.append(rule) or apply(rule, *rest))
    PatientGradients(module, [n for n, _ in module.named_parameters()])(given(), {}, PATIENTS)
    kind = {"norm": "_SharedNorm", "stride, dilation, groups": "_SharedConv"}.get(form, "_Attention")
    assert kind in {rule.__name__ for rule in seen}
