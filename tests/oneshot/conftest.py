"""Small models and a made-up cohort whose two classes differ in colour and in direction of stripes."""

import numpy as np
import pytest
import torch

from privagams.roles import Space
from privagams_oneshot.model import DpMerf
from privagams_oneshot.settings import DpMerfSettings

CLASSES = ("flat", "striped")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make():
    def build(size=16, channels=3, classes=CLASSES, seed=1, **settings):
        settings = {"steps": 3, "features": 32, "batch": 8, "width": 8, **settings}
        return DpMerf(DpMerfSettings(**settings)).model(Space(size, channels, tuple(classes)), seed)

    return build


@pytest.fixture(scope="session")
def cohort():
    """200 patients of two images, uint8 "n 16 16 3", and labels: 0 pale and smooth, 1 dark with stripes."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(200) % 2, 2)
    shade = rng.normal(0, 8, (400, 1, 1, 3)) + (190 - 100 * labels)[:, None, None, None]
    phase = rng.uniform(0, 2 * np.pi, (400, 1))
    stripes = 60 * np.cos(np.arange(16) * np.pi / 2 + phase) * labels[:, None]
    images = np.clip(shade + stripes[:, None, :, None] + rng.normal(0, 4, (400, 16, 16, 3)), 0, 255).astype(
        np.uint8
    )
    return images, labels


@pytest.fixture
def noisy_total():
    def total(model, images, labels, sigma, seed=0):
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        features = model.features({"pixels": pixels, "labels": torch.from_numpy(labels)})
        means = features.view(len(images) // 2, 2, -1).mean(1)
        noise = np.random.default_rng(seed).normal(0, 1, means.shape[1]).astype(np.float32)
        return means.sum(0) + sigma * torch.from_numpy(noise)

    return total
