"""The embedder that needs no weights."""

import numpy as np
import pytest
from skimage.color import hed2rgb, rgb2hed

from privagams.errors import StageError
from privagams_metrics import texture
from privagams_metrics.texture import Texture


def stained(rng, n, haematoxylin, eosin, size=32):
    """Blotches with the given mean amounts of two stains."""
    amounts = np.zeros((n, size, size, 3))
    for k, amount in enumerate((haematoxylin, eosin)):
        blotches = rng.random((n, size // 4, size // 4)).repeat(4, axis=1).repeat(4, axis=2)
        amounts[..., k] = amount * (0.5 + blotches)
    return (hed2rgb(amounts) * 255).round().astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 16), (32, 32), (17, 40), (64, 64)])
def test_features_are_finite_rows_of_one_length_per_channel_count(rng, channels, shape):
    pixels = rng.integers(0, 256, (5, *shape, channels), dtype=np.uint8)
    features = Texture().embed(pixels)
    assert features.shape == (5, {1: 50, 3: 99}[channels])
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_image_has_finite_features(level):
    assert np.isfinite(Texture().embed(np.full((2, 32, 32, 3), level, dtype=np.uint8))).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_depends_on_its_image_alone(rng, channels):
    pixels = rng.integers(0, 256, (150, 32, 32, channels), dtype=np.uint8)
    together = Texture().embed(pixels)
    for i in (0, 83, 84, 149):
        assert np.array_equal(Texture().embed(pixels[i : i + 1])[0], together[i])
    assert np.array_equal(Texture().embed(pixels[::-1]), together[::-1])


def test_no_images_give_no_rows():
    assert Texture().embed(np.empty((0, 32, 32, 3), dtype=np.uint8)).shape == (0, 99)


def test_laboratories_that_stain_differently_are_told_apart(rng):
    one, other = (Texture().embed(stained(rng, 40, *amounts)) for amounts in ((0.08, 0.03), (0.05, 0.06)))
    seen = np.concatenate([one[:20], other[:20]])
    for unseen, expected in ((one[20:], 0), (other[20:], 1)):
        nearest = ((unseen[:, None] - seen[None]) ** 2).sum(2).argmin(1) // 20
        assert (nearest == expected).mean() > 0.95


def test_patterns_of_equal_colour_are_told_apart(rng):
    stripes = np.tile(np.array([60, 60, 200, 200], dtype=np.uint8), (32, 8))[None, :, :, None]
    checks = np.where((np.indices((32, 32)) // 2).sum(0) % 2, 200, 60).astype(np.uint8)[None, :, :, None]
    assert np.sort(stripes.ravel()).tolist() == np.sort(checks.ravel()).tolist()
    assert np.linalg.norm(Texture().embed(stripes) - Texture().embed(checks)) > 3


def test_stains_are_those_of_scikit_image(rng):
    pixels = stained(rng, 3, 0.06, 0.04)
    expected = rgb2hed(pixels)
    # scikit-image's logarithm has another base and it cuts off below 0; ours adds one grey level.
    for k, plane in enumerate(texture._stains(pixels)[:2]):
        assert np.corrcoef(plane.clip(0).ravel(), expected[..., k].ravel())[0, 1] > 0.98


def test_patterns_are_those_of_the_definition(rng):
    plane = rng.integers(0, 8, (1, 12, 12)).astype(np.float32)
    found = texture._PATTERNS[texture._codes(plane)][0]
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    for y in range(1, 11):
        for x in range(1, 11):
            bits = [bool(plane[0, y + dy, x + dx] >= plane[0, y, x]) for dy, dx in around]
            changes = sum(bits[i] != bits[i - 1] for i in range(8))
            assert found[y - 1, x - 1] == (sum(bits) if changes <= 2 else 9)


@pytest.mark.parametrize("turns", [1, 2])
def test_turning_an_image_changes_no_pattern(rng, turns):
    pixels = rng.integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)
    patterns = slice(3 + texture.BINS, 3 + texture.BINS + 10)
    turned = np.rot90(pixels, turns, axes=(1, 2))
    np.testing.assert_allclose(Texture().embed(pixels)[:, patterns], Texture().embed(turned)[:, patterns])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 32, 32, 4), dtype=np.uint8),
        np.zeros((2, 32, 32, 3), dtype=np.float32),
        np.zeros((32, 32, 3), dtype=np.uint8),
        np.zeros((2, 12, 32, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_stack_of_images_is_refused(pixels):
    with pytest.raises(StageError, match="texture: expected"):
        Texture().embed(pixels)
