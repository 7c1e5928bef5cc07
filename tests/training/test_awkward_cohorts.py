"""Cohorts that nobody wishes for: a class of one patient, one patient of very many tiles."""

import numpy as np
import pytest
import torch

import privagams_diffusion
import privagams_dp
import privagams_oneshot
from privagams.ledger.uncharged import Uncharged
from privagams.records import Records
from privagams.roles import Space
from privagams.training.train import fit

SPACE = Space(16, 1, ("common", "rare"))
TRAININGS = {
    "diffusion": ("dp-sgd", {"steps": 2, "channels": (8,), "timesteps": 10, "sampling_steps": 2}),
    "dp-merf": ("noisy-sum", {"steps": 2, "features": 16, "width": 8}),
    "scatter": ("noisy-sum", {"steps": 2, "frequencies": 16, "batch": 4}),
}


def component(plugins, name):
    return next(c for c in plugins if c.name == name)


@pytest.fixture
def train(tmp_path):
    """Train one of the first-party generators at ε = 2 on the given patients and draw four images."""

    def run(generator, patients, labels):
        rng = np.random.default_rng(1)
        pixels = rng.integers(0, 256, (len(patients), 16, 16, 1), dtype=np.uint8)
        members = Records(pixels, {"patient": np.array(patients), "label": np.array(labels)})
        name, settings = TRAININGS[generator]
        offered = [*privagams_diffusion.privagams_generators(), *privagams_oneshot.privagams_generators()]
        made, protector = (
            component(offered, generator),
            component(privagams_dp.privagams_mechanisms(), name),
        )
        model = made.build(made.settings(**settings)).model(SPACE, 1)
        mechanism = protector.build(protector.settings(epsilon=2.0, delta=1e-3))
        account = Uncharged()
        fit(
            model, members, None, SPACE, mechanism, 30, 1, tmp_path, account, lambda done, total, said="": None,
        )  # fmt: skip
        drawn = model.sample(
            np.array([0, 1, 0, 1]), torch.Generator().manual_seed(1), lambda done, total: None
        )
        assert account.spent()
        return drawn

    return run


def names(count):
    return [f"p{i:03d}" for i in range(count)]


@pytest.mark.parametrize("generator", TRAININGS)
def test_a_class_of_one_patient_is_drawn(train, generator):
    drawn = train(generator, names(30), ["common"] * 29 + ["rare"])
    assert drawn.shape == (4, 16, 16, 1)
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize(
    ("generator", "tiles"), [("diffusion", 10_000), ("dp-merf", 10_000), ("scatter", 2000)]
)
def test_one_patient_of_very_many_tiles_can_be_trained_on(train, generator, tiles):
    patients = [*names(20), *["p999"] * tiles]
    drawn = train(generator, patients, ["common", "rare"] * (len(patients) // 2))
    assert drawn.shape == (4, 16, 16, 1)
