"""Small diffusion models, and what they are fed."""

import pytest
import torch
from attrs import frozen

from privagams.roles import Space
from privagams_diffusion import DiffusionSettings, build_diffusion

SMALL = {"channels": (8, 16), "timesteps": 50, "sampling_steps": 5, "steps": 10, "batch": 8}


@frozen
class Bench:
    """Makes models, batches and generators."""

    def make(self, size=16, planes=3, classes=("benign", "tumour"), seed=0, **settings):
        return build_diffusion(DiffusionSettings(**(SMALL | settings))).model(
            Space(size, planes, classes), seed
        )

    def batch(self, model, n, seed=1):
        side, channels = model.space.size, model.space.channels
        batch = {"pixels": torch.rand((n, channels, side, side), generator=self.rng(seed)) * 2 - 1}
        if model.space.classes:
            batch["labels"] = torch.arange(n) % len(model.space.classes)
        return batch

    def rng(self, seed=2):
        return torch.Generator().manual_seed(seed)

    def moved(self, model, size=0.05):
        """Off its start, where biases and adapters of zero could hide what is wrong."""
        rng = self.rng(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(size * torch.randn(parameter.shape, generator=rng))
        return model


@pytest.fixture
def bench():
    return Bench()
