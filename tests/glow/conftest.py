"""Small models in three states: fresh, moved off their start, and briefly trained."""

import numpy as np
import pytest
import torch

from privagams.roles import Space
from privagams_glow import GlowSettings, build_glow

SMALL = {"depth": 2, "width": 8, "steps": 10, "batch": 8}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make():
    def make(size=16, planes=1, classes=("benign", "tumour"), seed=0, **settings):
        return build_glow(GlowSettings(**(SMALL | settings))).model(Space(size, planes, classes), seed)

    return make


@pytest.fixture
def images():
    """Smooth images of random bytes on the scale of `Batch`, with labels −1, 0 and 1 where there are classes."""

    def images(model, n, seed=1):
        rng = np.random.default_rng(seed)
        side, planes = model.space.size, model.space.channels
        coarse = rng.integers(0, 256, (n, planes, side // 4, side // 4))
        noise = rng.integers(-20, 21, (n, planes, side, side))
        pixels = np.clip(coarse.repeat(4, 2).repeat(4, 3) + noise, 0, 255)
        batch = {"pixels": torch.from_numpy(pixels).float() / 127.5 - 1}
        if model.space.classes:
            batch["labels"] = torch.arange(n) % 3 - 1
        return batch

    return images


@pytest.fixture
def perturbed():
    """Moved off the start, where couplings are the identity and wrong parts could hide."""

    def perturbed(model, size=0.03, seed=5):
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in model.named_parameters():
                gained = "splits" in name or name.endswith(("log_scale", "shift", "base"))
                scale = 0.1 if gained else 1.0
                p.add_(torch.randn(p.shape, generator=rng) * size * scale)
        return model

    return perturbed


@pytest.fixture
def trained(images):
    def trained(model, steps=40, rate=2e-3):
        batch, rng = images(model, 32), torch.Generator().manual_seed(6)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        for _ in range(steps):
            optimizer.zero_grad()
            model(batch, model.draw(32, rng)).mean().backward()
            optimizer.step()
        return model

    return trained
