import pytest
import torch

from privagams.roles import Space
from privagams_oneshot.scatter_blocks import Blocks
from privagams_oneshot.scatter_features import Scattering, unit_range
from privagams_oneshot.wavelets import ANGLES, COARSER, FINEST, Moduli, morlets
from privagams_oneshot.whitening import Whitening, second_moment

EXTREMES = {
    "random": lambda shape: torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    "black": lambda shape: torch.full(shape, -1.0),
    "white": lambda shape: torch.full(shape, 1.0),
    "exploding": lambda shape: 1e30 * torch.randn(shape, generator=torch.Generator().manual_seed(0)),
    "infinite": lambda shape: torch.full(shape, float("inf")),
    "not a number": lambda shape: torch.full(shape, float("nan")),
}
SPACES = [(16, 3), (28, 1), (4, 1), (21, 3), (64, 3)]


def whitening(d, scale):
    matrix = torch.randn(d, d, generator=torch.Generator().manual_seed(1))
    return Whitening(torch.full((d,), 0.1), scale * matrix)


@pytest.mark.parametrize("filters", [FINEST, COARSER])
def test_wavelets_have_no_mean_and_unit_sum(filters):
    waves = morlets(*filters).double()
    real, imaginary = waves.chunk(2)
    assert waves.sum((1, 2, 3)).abs().max() < 1e-6
    torch.testing.assert_close(torch.hypot(real, imaginary).sum((1, 2, 3)), torch.ones(ANGLES).double())


def test_moduli_tell_the_direction_of_stripes_and_not_their_place():
    px = torch.arange(32.0)
    across = 0.5 + 0.5 * torch.cos(2 * px)
    along_x = across.expand(1, 1, 32, 32)
    finest, _ = Moduli(2)(torch.cat([along_x, along_x.transpose(2, 3), along_x.roll(1, 3)]))
    inner = finest[:, :, 4:-4, 4:-4].mean((2, 3))
    assert inner[0].argmax() == 0
    assert inner[1].argmax() == ANGLES // 2
    torch.testing.assert_close(inner[0], inner[2], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize(("size", "channels"), SPACES)
def test_scattering_has_norm_at_most_one_for_any_input(kind, size, channels):
    phi = Scattering(Space(size, channels))
    vectors = phi(unit_range(EXTREMES[kind]((4, channels, size, size))))
    assert vectors.shape == (4, phi.size)
    assert vectors.isfinite().all()
    assert vectors.double().norm(dim=1).max() <= 1
    assert second_moment(vectors).double().norm(dim=1).max() <= 1


@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize(("quadratic", "textures"), [(True, 0), (False, 8), (True, 8)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_blocks_have_norm_at_most_one_for_any_input(kind, quadratic, textures, scale):
    blocks = Blocks(Space(16, 3), 32, quadratic, textures, torch.Generator().manual_seed(0))
    vectors = blocks.vectors(EXTREMES[kind]((4, 3, 16, 16)), whitening(blocks.phi.size, scale))
    assert vectors.dtype == torch.float32
    assert vectors.shape == (4, sum(blocks.sizes))
    assert vectors.isfinite().all()
    assert vectors.double().norm(dim=1).max() <= 1


def test_features_are_bounded_in_number_for_any_size_and_channels():
    for size in (4, 16, 28, 32, 64, 96, 128, 224):
        for channels in (1, 3):
            phi = Scattering(Space(size, channels))
            assert phi.size <= 1001
            assert phi(torch.rand(1, channels, size, size)).shape == (1, phi.size)


def test_a_records_features_do_not_depend_on_other_records():
    blocks = Blocks(Space(16, 3), 32, True, 8, torch.Generator().manual_seed(0))
    known = whitening(blocks.phi.size, 1.0)
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(4)) * 2 - 1
    changed = torch.cat([pixels[:1], 1e6 * pixels[1:]])
    together, beside_others, alone = (blocks.vectors(x, known)[0] for x in (pixels, changed, pixels[:1]))
    torch.testing.assert_close(together, beside_others, atol=1e-6, rtol=0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_every_pixel_moves_the_features(scatter):
    """A pixel that no feature looks at is where a network would write labels."""
    blocks = scatter(16, 1).blocks
    pixels = torch.zeros(1, 1, 16, 16).requires_grad_()
    known = whitening(blocks.phi.size, 0.1)
    weights = torch.randn(sum(blocks.sizes), generator=torch.Generator().manual_seed(0))
    _, short = blocks.parts(pixels, known)
    (slope,) = torch.autograd.grad((short * weights[: short.shape[1]]).sum(), pixels)
    assert slope.abs().min() > 0


def test_textures_know_colour_and_grain_but_no_place(scatter):
    """Tissue has no fixed places: moved images are alike to the texture block, another grain or colour is not."""
    textures = scatter(64, 3, textures=64).blocks.textures
    images = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    smooth = torch.nn.functional.interpolate(images[..., ::8, ::8], 64, mode="bilinear")
    moved, tinted = images.roll((13, 29), (2, 3)), images * torch.tensor([1.0, 0.8, 1.0])[:, None, None]
    means = [torch.cat(textures(2 * x - 1), 1).mean(0) for x in (images, moved, smooth, tinted)]
    same, grain, colour = ((mean - means[0]).norm() for mean in means[1:])
    assert 4 * same < min(grain, colour)


def test_grey_images_ask_for_no_textures_and_coloured_ones_do(scatter):
    assert scatter(16, 1).blocks.textures is None
    assert scatter(16, 3).blocks.textures is not None
