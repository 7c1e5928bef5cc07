"""The attacks that ask a model about images, against their formulas."""

import numpy as np
import pytest
import torch
from attrs import evolve

from privagams.access import Access, Target
from privagams.oracle import Denoiser
from privagams.records import Records
from privagams.testing.closed_form import case, level_at
from privagams_attacks.membership.loss import Loss, image_losses
from privagams_attacks.membership.noise import timestep_at, timesteps_at
from privagams_attacks.membership.patients import distinct, patient_means
from privagams_attacks.membership.pia import Pia
from privagams_attacks.membership.secmi import Secmi
from privagams_attacks.membership.settings import LossSettings, PiaSettings, SecmiSettings, SimaSettings
from privagams_attacks.membership.sima import Sima

LINEAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
COSINE = torch.cos((torch.arange(1, 201) / 200 + 0.008) / 1.008 * torch.pi / 2) ** 2


def small(**options):
    return case("gaussian", Access.LOSS, 3, **{"members": 40, "released": 1, "reference": 0, **options})


def run(attack, made, seed=0):
    return attack.run(made.target, made.world, np.random.default_rng(seed)).values


def images(made):
    scaled = made.world.candidates.read().transpose(0, 3, 1, 2) / 127.5 - 1
    return torch.from_numpy(scaled).float()


def denoiser(levels):
    return Denoiser(levels, lambda noisy, timestep, labels: noisy)


def test_default_levels_are_timesteps_100_and_200_of_the_linear_schedule():
    assert timesteps_at(denoiser(LINEAR), LossSettings().levels) == [100, 200]
    assert timestep_at(denoiser(LINEAR), PiaSettings().level) == 200
    for settings in (SecmiSettings(), SimaSettings()):
        assert timestep_at(denoiser(LINEAR), settings.level) == 100


def test_a_timestep_is_chosen_by_its_share_of_signal_whatever_the_schedule():
    chosen = timestep_at(denoiser(COSINE), 0.895)
    assert abs(float(COSINE[chosen]) - 0.895) < 0.01
    assert timestep_at(denoiser(LINEAR[::100]), 0.9999) == 1


def test_levels_that_meet_in_a_short_schedule_are_asked_once():
    assert timesteps_at(denoiser(LINEAR[::200]), (0.66, 0.65)) == [1]


def test_pia_is_its_formula():
    made, level = small(), level_at(100)
    found = made.target.oracle.denoiser()
    x = images(made)
    first = found.predict(x, 0, None)
    a = found.levels[100]
    second = found.predict(a.sqrt() * x + (1 - a).sqrt() * first, 100, None)
    expected = -((first - second) ** 4).flatten(1).mean(1).numpy()
    assert run(Pia(PiaSettings(level=level)), made) == pytest.approx(expected, rel=1e-4)


def test_sima_is_its_formula():
    made, level = small(), level_at(100)
    predicted = made.target.oracle.denoiser().predict(images(made), 100, None)
    expected = -(predicted**4).flatten(1).mean(1).numpy()
    assert run(Sima(SimaSettings(level=level)), made) == pytest.approx(expected, rel=1e-4)


def test_secmi_is_its_formula():
    made, level = small(), level_at(100)
    found = made.target.oracle.denoiser()

    def step(x, start, end):
        noise = found.predict(x, start, None)
        clean = (x - (1 - found.levels[start]).sqrt() * noise) / found.levels[start].sqrt()
        return found.levels[end].sqrt() * clean + (1 - found.levels[end]).sqrt() * noise

    x = images(made)
    for start in range(0, 100, 10):
        x = step(x, start, start + 10)
    expected = -(step(step(x, 100, 110), 110, 100) - x).square().flatten(1).mean(1).numpy()
    assert run(Secmi(SecmiSettings(level=level)), made) == pytest.approx(expected, rel=1e-3)


def test_secmi_goes_no_further_than_the_schedule():
    asked = []
    short = Denoiser(LINEAR[::250], lambda noisy, timestep, labels: asked.append(timestep) or noisy)
    found = Secmi(SecmiSettings(level=0.001))._error(short, torch.ones(2, 1, 2, 2), None)
    assert torch.isfinite(found).all()
    assert max(asked) == 3


def test_loss_is_its_formula_over_levels_and_noises():
    made = small()
    levels = (level_at(100), level_at(300))
    settings = LossSettings(levels=levels, noises=3)
    found = made.target.oracle.denoiser()
    x = images(made)
    noises = torch.randn((3, 1, 4, 8), generator=torch.Generator().manual_seed(11))
    total = torch.zeros(len(x))
    for timestep in (100, 300):
        a = found.levels[timestep]
        for noise in noises:
            total += (
                (found.predict(a.sqrt() * x + (1 - a).sqrt() * noise, timestep, None) - noise)
                .square()
                .flatten(1)
                .mean(1)
            )
    assert image_losses(made.target.oracle, made.world.candidates, settings, 11) == pytest.approx(
        total.numpy() / 6, rel=1e-4
    )


def test_noises_follow_the_generator_handed_in_and_nothing_else():
    made = small()
    attack = Loss(LossSettings())
    assert run(attack, made, 1) == pytest.approx(run(attack, made, 1), abs=0)
    assert run(attack, made, 1) != pytest.approx(run(attack, made, 2), abs=1e-6)
    torch.manual_seed(0)
    first = run(attack, made, 1)
    torch.manual_seed(1)
    assert first == pytest.approx(run(attack, made, 1), abs=0)


def test_a_trained_model_that_is_no_diffusion_model_is_asked_for_its_training_loss():
    class Trained:
        def phases(self):
            from privagams.roles import Phase

            return [
                Phase("one", Module(), lambda n, rng: {"noise": torch.rand((n,), generator=rng)}, 1, 1e-3)
            ]

        def sample(self, labels, rng, progress): ...
        def state_dict(self): ...
        def load_state_dict(self, state): ...

    class Module(torch.nn.Module):
        def forward(self, batch, noise):
            return batch["pixels"].flatten(1).mean(1) + noise["noise"]

    made = small()
    target = Target(made.target.released, Access.LOSS, model=Trained)
    values = Loss(LossSettings()).run(target, made.world, np.random.default_rng(0)).values
    gaps = values + images(made).flatten(1).mean(1).numpy()
    assert np.ptp(gaps) < 1e-6
    assert -1 < gaps[0] < 0


def test_labels_are_told_to_the_model():
    class Labelled:
        levels = LINEAR.float()

        def predict_noise(self, noisy, timestep, labels):
            return labels[:, None, None, None] * torch.ones_like(noisy)

    made = small()
    label = np.where(np.arange(80) % 2, "b", "a")
    candidates = Records(made.world.candidates.read(), {**made.world.candidates.table, "label": label})
    target = Target(made.target.released, Access.LOSS, model=Labelled, classes=("a", "b"))
    world = evolve(made.world, candidates=candidates)
    values = Sima(SimaSettings()).run(target, world, np.random.default_rng(0)).values
    assert values == pytest.approx(np.where(label == "b", -1.0, 0.0))


def test_a_patient_scores_the_mean_of_its_images():
    made = small(images=3)
    values = run(Sima(SimaSettings(level=level_at(100))), made)
    one_each = []
    for image in range(3):
        candidates = made.world.candidates.take(np.arange(image, 240, 3))
        alone = evolve(made, world=evolve(made.world, candidates=candidates))
        one_each.append(run(Sima(SimaSettings(level=level_at(100))), alone))
    assert values == pytest.approx(np.mean(one_each, axis=0), rel=1e-5)


def named(pixels, patients, labels=None):
    table = {"patient": np.array(patients)}
    if labels is not None:
        table["label"] = np.array(labels)
    return Records(np.array(pixels, dtype=np.uint8).reshape(-1, 1, 1, 1), table)


def test_copies_are_told_by_pixels_patient_and_label():
    records = named([1, 1, 1, 2, 1], ["a", "a", "b", "a", "a"], ["x", "x", "x", "x", "y"])
    kept = distinct(records)
    assert sorted(zip(kept.patient, kept.read().ravel(), kept.column("label"), strict=True)) == [
        ("a", 1, "x"), ("a", 1, "y"), ("a", 2, "x"), ("b", 1, "x"),
    ]  # fmt: skip


def test_a_choice_of_images_is_the_same_in_any_order():
    rng = np.random.default_rng(0)
    records = named(np.arange(60), np.repeat(["a", "b", "c"], 20))
    kept = distinct(records, 5)
    again = distinct(records.take(rng.permutation(60)), 5)
    assert sorted(kept.read().ravel()) == sorted(again.read().ravel())
    assert [(kept.patient == name).sum() for name in "abc"] == [5, 5, 5]


def test_means_keep_leading_axes_and_the_order_of_patients():
    records = named([0, 0, 0], ["a", "b", "a"])
    values = np.array([[1.0, 5.0, 3.0], [0.0, 7.0, 4.0]])
    assert patient_means(values, records, np.array(["b", "a"])).tolist() == [[5, 2], [7, 2]]
    assert patient_means(values[0], records, np.array(["a", "b"])).tolist() == [2, 5]
