"""The laws of a flow: one to one, with the volume it claims."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional

from privagams_glow.coupling import Coupling
from privagams_glow.neighbours import gather, spread

STATES = ("fresh", "perturbed", "trained")


@pytest.fixture
def state(perturbed, trained):
    return {"fresh": lambda model: model, "perturbed": perturbed, "trained": trained}


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_image_and_latents_find_back_to_each_other(make, state, images, kind, planes, dtype, bound):
    model = state[kind](make(planes=planes, depth=4)).to(dtype)
    batch = images(model, 6, seed=3)
    latents = model.encode(batch)
    back = model.decode(latents, batch["labels"])
    assert latents.dtype == back.dtype == dtype
    assert (back - batch["pixels"]).abs().max() <= bound
    drawn = torch.randn((6, model.dimensions), generator=torch.Generator().manual_seed(4), dtype=dtype)
    again = model.encode(batch | {"pixels": model.decode(drawn, batch["labels"])})
    assert (again - drawn).abs().max() <= bound


def test_images_survive_the_round_trip_at_every_size_and_in_the_last_byte(make, perturbed, images):
    for size in (32, 64):
        model = perturbed(make(size=size, classes=()))
        batch = images(model, 3)
        back = model.decode(model.encode(batch), None)
        assert torch.equal((back + 1).mul(127.5).round(), (batch["pixels"] + 1).mul(127.5).round())


@pytest.mark.parametrize("planes", [1, 3])
def test_the_claimed_volume_is_autograds(make, perturbed, images, planes):
    model = perturbed(make(size=8, planes=planes, levels=2), size=0.1).double()
    batch = images(model, 2)
    for row in range(2):
        one = {name: t[row : row + 1] for name, t in batch.items()}
        scaled = model._scaled(one["pixels"], 0.5)
        latents_of = partial(_latents, model, one["labels"])
        jacobian = torch.autograd.functional.jacobian(latents_of, scaled)
        _, expected = torch.linalg.slogdet(jacobian.reshape(model.dimensions, model.dimensions))
        volume = model.net(scaled, one["labels"])[1].detach()
        assert abs(float(volume - expected)) < 1e-8
        latents = model.encode(one)
        density = -0.5 * float(latents.square().sum()) - model.dimensions / 2 * math.log(2 * math.pi)
        expected = density + float(expected) - model.dimensions * math.log(128)
        assert float(model.log_prob(one).detach()) == pytest.approx(expected, abs=1e-7)


def _latents(model, labels, x):
    return model.net(x, labels)[0]


def test_an_untrained_flow_gives_the_bits_of_a_standard_normal(make):
    """Grey level 0 has x = 1/256, and every start is a rotation: −log₂ of N(x; 0, 1) times the bin."""
    model = make(classes=())
    pixels = torch.full((1, 1, 16, 16), 128 / 127.5 - 1)
    expected = (0.5 * math.log(2 * math.pi) + 0.5 / 256**2 + math.log(128)) / math.log(2)
    assert float(model.bits_per_dimension(model.log_prob({"pixels": pixels})).detach()) == pytest.approx(
        expected, abs=1e-5
    )


def test_gathering_and_spreading_are_the_two_halves_of_a_convolution():
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 6, 3, generator=rng), torch.randn(4, 2, 3, 3, generator=rng)
    expected = functional.conv2d(x.permute(3, 0, 1, 2), weight, padding=1).permute(1, 2, 3, 0)
    gathered = weight.permute(0, 2, 3, 1).flatten(1) @ gather(x).flatten(1)
    torch.testing.assert_close(gathered.reshape(expected.shape), expected)
    turned = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(36, 2)
    sent = (turned @ x.flatten(1)).reshape(36, *x.shape[1:])
    torch.testing.assert_close(spread(sent), expected)


def test_gathering_and_spreading_have_right_gradients_with_and_without_vmap():
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(18, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gather, x)
    assert torch.autograd.gradcheck(spread, y)
    many = torch.randn(5, 2, 3, 4, 2, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(torch.vmap(gather)(many), torch.stack([gather(one) for one in many]))


def test_a_coupling_does_the_same_with_and_without_gradients():
    coupling = Coupling(4, 8)
    with torch.no_grad():
        for p in coupling.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    x = torch.randn(4, 6, 6, 3, generator=torch.Generator().manual_seed(0))
    slow = coupling(x)
    with torch.no_grad():
        quick = coupling(x)
    for one, other in zip(slow, quick, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert (slow[0] - x).abs().max() > 0.1
