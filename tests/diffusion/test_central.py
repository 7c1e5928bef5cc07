"""Noisy mean images of members, and what the warm-up is shown of them."""

import pytest
import torch
from torch.nn import functional

from privagams.roles import Space, Summary
from privagams_diffusion import DiffusionSettings
from privagams_diffusion.central import CentralImages


def central(size=28, channels=1, classes=("a", "b"), **settings):
    return CentralImages(DiffusionSettings(warmup=1, **settings), Space(size, channels, classes))


def pictures(n, size=28, channels=1):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def told(made, pixels, labels, blocks, noise_std=0.0, sums=1):
    """The sum over records that are a patient each."""
    total = torch.zeros(blocks, made.features({"pixels": pixels}).shape[1])
    total.index_add_(0, labels, made.features({"pixels": pixels}))
    noise = torch.randn(sums, *total.shape, generator=torch.Generator().manual_seed(1))
    made.take(Summary(total + noise_std * noise, len(pixels), noise_std))
    return made.images()


@pytest.mark.parametrize(("size", "side"), [(28, 14), (32, 16), (64, 16), (96, 12), (16, 8)])
def test_mean_images_are_as_small_as_noise_demands(size, side):
    assert central(size=size).side == side


@pytest.mark.parametrize("value", [1.0, -1.0, 1e30, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("channels", [1, 3])
def test_vectors_of_central_images_are_bounded_for_any_input(value, channels):
    made, pixels = central(channels=channels), pictures(4, channels=channels)
    pixels[0] = value
    pixels[1, :, :5] = value
    pixels[2, :, ::2] = -value
    vectors = made.features({"pixels": pixels})
    assert torch.isfinite(vectors).all()
    norms = vectors.double().norm(dim=1)
    assert norms.max() <= 1
    assert norms[3] > 0.3
    if abs(value) == 1.0:
        assert norms[0] > 0.999  # the bound is reached: nothing is given away


def test_vectors_of_central_images_treat_each_record_alone():
    made, pixels = central(), pictures(5)
    before = made.features({"pixels": pixels})
    pixels[2] = 1.0
    after = made.features({"pixels": pixels})
    assert torch.equal(before[[0, 1, 3, 4]], after[[0, 1, 3, 4]])
    assert not torch.equal(before[2], after[2])


def test_without_noise_the_images_are_the_means_of_each_class_whatever_its_size():
    made, pixels = central(central_shift=0), pictures(9)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1])
    images = told(made, pixels, labels, 2)
    assert images["labels"].tolist() == [0, 1]
    for label in (0, 1):
        mean = functional.adaptive_avg_pool2d(pixels[labels == label].mean(0, keepdim=True), 14)
        expected = functional.interpolate(mean, (28, 28), mode="bilinear", align_corners=False)
        torch.testing.assert_close(images["pixels"][label : label + 1], expected, rtol=1e-4, atol=1e-4)


def test_under_noise_the_images_stay_near_the_means():
    made, pixels = central(central_shift=0, central_size=7), pictures(400).clamp(min=0.2)
    images = told(made, pixels, torch.arange(400) % 2, 2, noise_std=1.0, sums=6)
    assert images["pixels"].shape == (12, 1, 28, 28)
    assert images["labels"].tolist() == [0, 1] * 6
    expected = pixels.mean()
    assert (images["pixels"].mean((1, 2, 3)) - expected).abs().max() < 0.1


def test_a_class_with_fewer_patients_than_noise_fades_to_grey_and_stays_within_range():
    made = central(central_shift=0)
    images = told(made, pictures(1), torch.tensor([0]), 2, noise_std=50.0, sums=8)
    assert torch.isfinite(images["pixels"]).all()
    assert images["pixels"].abs().max() <= 1
    rare = central(central_shift=0)
    width = rare.features({"pixels": pictures(1)}).shape[1]
    rare.take(Summary(torch.zeros(1, 2, width), 5.0, 1.0))
    assert (rare.images()["pixels"] == 0).all()


def test_each_mean_image_is_shown_at_every_shift_with_its_class():
    made = central(central_shift=1)
    pixels = torch.full((2, 1, 28, 28), -1.0)
    pixels[0, :, 8:12, 8:12] = 1.0
    images = told(made, pixels, torch.tensor([0, 1]), 2)
    assert images["pixels"].shape == (18, 1, 28, 28)
    assert images["labels"].tolist() == [0, 1] * 9
    bright = images["pixels"][images["labels"] == 0]
    assert len(torch.unique(bright.flatten(1), dim=0)) == 9
    assert bright[4][0, 9:11, 9:11].min() > 0.99
    assert (images["pixels"][images["labels"] == 1] < -0.99).all()


def test_without_classes_there_are_no_labels():
    made = central(classes=())
    images = told(made, pictures(3), torch.zeros(3, dtype=torch.int64), 1)
    assert images.keys() == {"pixels"}


def test_images_before_any_sum_are_an_error():
    with pytest.raises(RuntimeError, match="before any sum"):
        central().images()
