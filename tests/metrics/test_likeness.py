"""PSNR and SSIM of copies against their originals."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from privagams.errors import StageError
from privagams.records import Records
from privagams_metrics import build_psnr, build_ssim
from privagams_metrics.likeness import CEILING


@pytest.fixture
def smooth(rng):
    def make(n, channels=1, size=24):
        noise = gaussian_filter(rng.normal(0, 1, (n, size, size, channels)), (0, 2, 2, 0))
        return np.clip(128 + 300 * noise, 20, 235).astype(np.uint8)

    return make


def grainy(rng, pixels, sigma):
    return np.clip(np.rint(pixels + rng.normal(0, sigma, pixels.shape)), 0, 255).astype(np.uint8)


def measured(build, originals, released, rng):
    (found,) = build(None).measure_pairs(None, originals, released, None, rng)
    return found


def test_psnr_equals_its_formula(rng, smooth, records):
    pixels = smooth(6)
    copies = pixels + 3  # nothing reaches 255
    found = measured(build_psnr, records(pixels), Records(copies, {}), rng)
    assert found.value == pytest.approx(10 * np.log10(255**2 / 9))
    assert found.low == pytest.approx(found.high)
    assert found.n == 6


def test_an_identical_copy_has_the_stated_ceiling(smooth, records, rng):
    pixels = smooth(4)
    found = measured(build_psnr, records(pixels), Records(pixels.copy(), {}), rng)
    assert found.value == pytest.approx(CEILING) == pytest.approx(58.92, abs=0.01)
    assert "58.9" in found.note


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_copies_have_ssim_one(channels, smooth, records, rng):
    pixels = smooth(3, channels)
    assert measured(build_ssim, records(pixels), Records(pixels.copy(), {}), rng).value == pytest.approx(1)


def test_ssim_equals_wangs_formula_with_a_gaussian_window(smooth, records, rng):
    pixels = smooth(1)
    copies = grainy(rng, pixels, 20)
    a, b = (x[0, :, :, 0].astype(float) for x in (pixels, copies))

    def mean(x):
        return gaussian_filter(x, 1.5, truncate=3.5, mode="reflect")

    va, vb = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    shared = mean(a * b) - mean(a) * mean(b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    full = (2 * mean(a) * mean(b) + c1) * (2 * shared + c2)
    full /= (mean(a) ** 2 + mean(b) ** 2 + c1) * (va + vb + c2)
    expected = full[5:-5, 5:-5].mean()
    assert measured(build_ssim, records(pixels), Records(copies, {}), rng).value == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("build", [build_psnr, build_ssim])
def test_more_noise_is_worse_and_n_counts_patients(build, smooth, records, rng):
    pixels = smooth(12)
    values = []
    for sigma in (2, 10, 50):
        found = measured(build, records(pixels, 3), Records(grainy(rng, pixels, sigma), {}), rng)
        assert found.n == 4
        assert found.low <= found.value <= found.high
        values.append(found.value)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("build", [build_psnr, build_ssim])
def test_patients_count_alike_however_many_images_they_have(build, smooth, rng):
    pixels = smooth(5)
    copies = pixels.copy()
    copies[:4] = grainy(rng, pixels[:4], 40)
    patient = np.array(["a"] * 4 + ["b"])
    found = measured(build, Records(pixels, {"patient": patient}), Records(copies, {}), rng)
    one = measured(build, Records(pixels[:4], {"patient": patient[:4]}), Records(copies[:4], {}), rng)
    two = measured(build, Records(pixels[4:], {"patient": patient[4:]}), Records(copies[4:], {}), rng)
    assert found.value == pytest.approx((one.value + two.value) / 2)


def test_one_patient_says_nothing_about_others(smooth, records, rng):
    pixels = smooth(3)
    found = measured(build_psnr, records(pixels, 3), Records(grainy(rng, pixels, 10), {}), rng)
    assert (found.low, found.high) == (0, CEILING)


def test_the_interval_covers_the_mean_of_all_patients(smooth, records):
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pixels = np.full((8, 12, 12, 1), 128, dtype=np.uint8)
        # PSNR of a patient is normal with mean 30 dB.
        off = 255 / 10 ** ((30 + 2 * rng.standard_normal(8)) / 20)
        copies = np.rint(pixels + off[:, None, None, None]).astype(np.uint8)
        found = measured(build_psnr, records(pixels), Records(copies, {}), rng)
        covered += found.low <= 30 <= found.high
    assert covered >= 51


@pytest.mark.parametrize("build", [build_psnr, build_ssim])
def test_without_a_pair_for_each_it_is_an_error(build, smooth, records, rng):
    with pytest.raises(StageError, match="one original for each released image"):
        measured(build, records(smooth(4)), Records(smooth(3), {}), rng)


def test_images_smaller_than_the_window_are_an_error(smooth, records, rng):
    pixels = smooth(3, size=10)
    with pytest.raises(StageError, match="at least 11 px"):
        measured(build_ssim, records(pixels), Records(pixels, {}), rng)
