"""Small models and a made-up cohort whose two classes differ in colour and in direction of stripes."""

import numpy as np
import pytest
import torch

from privagams.roles import Space, Summary
from privagams_oneshot.model import DpMerf
from privagams_oneshot.scatter import Scatter
from privagams_oneshot.scatter_settings import ScatterSettings
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


@pytest.fixture
def scatter():
    def build(size=16, channels=3, classes=CLASSES, seed=1, **settings):
        settings = {"steps": 3, "frequencies": 32, "batch": 8, **settings}
        return Scatter(ScatterSettings(**settings)).model(Space(size, channels, tuple(classes)), seed)

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
def tell():
    """What the core does, in small: a patient is two images; noise of `sigma` in all, split by shares."""

    def run(model, images, labels, sigma, seed=0):
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        owned, told, rng = torch.from_numpy(labels), [], np.random.default_rng(seed)
        for sums in model.sums():
            blocks = max(1, len(model.space.classes)) if sums.by_class else 1
            own = torch.eye(blocks)[owned if blocks > 1 else torch.zeros_like(owned)]
            totals = torch.zeros(1)
            for rows in torch.arange(len(images)).split(50):
                batch = {"pixels": pixels[rows], "labels": owned[rows]}
                with torch.no_grad():
                    totals = totals + own[rows].T @ sums.features(batch) / 2
            std = sigma / sums.share**0.5
            noise = rng.normal(0, std, totals.shape) if sigma else np.zeros(totals.shape)
            told.append(
                Summary((totals + torch.from_numpy(noise.astype(np.float32)))[None], len(images) / 2, std)
            )
            sums.take(told[-1])
        return told

    return run
