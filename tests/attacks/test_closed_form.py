import math
import time

import numpy as np
import pytest
import torch
from attrs import evolve

from privagams.access import Access
from privagams.component import Component
from privagams.errors import AccessError
from privagams.roles import Denoising, Likelihood
from privagams.testing.closed_densities import ClosedForm, fitted, to_pixels, to_vectors
from privagams.testing.closed_form import case, known_answers, level_at, measured_auc
from privagams_attacks.membership.offers import components

KINDS = ("population", "gaussian", "kde", "memorising")
SIGNAL = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def vectors(count, seed=0):
    return to_vectors(to_pixels(np.random.default_rng(seed).standard_normal((count, 32))))


def predicted(model, x, noise, timestep):
    """Noise prediction for vectors noised as any attack does it: in the images' own scale, x / 4."""
    level = model.levels[timestep]
    images = torch.from_numpy(x / 4).float().reshape(-1, 1, 4, 8)
    noisy = level.sqrt() * images + (1 - level).sqrt() * torch.from_numpy(noise).float().reshape(-1, 1, 4, 8)
    found = model.predict_noise(noisy, torch.full((len(x),), timestep), None)
    return found.flatten(1).double().numpy()


def test_pixels_keep_vectors_to_half_a_level():
    x = np.random.default_rng(1).standard_normal((500, 32)).clip(-4, 4)
    assert np.abs(to_vectors(to_pixels(x)) - x).max() <= 4 / 255 + 1e-9


@pytest.mark.parametrize("timestep", [0, 100, 300, 700])
def test_images_have_the_signal_to_noise_ratio_of_unit_vectors_on_the_linear_schedule(timestep):
    level = level_at(timestep)
    assert level / (1 - level) / 16 == pytest.approx(SIGNAL[timestep] / (1 - SIGNAL[timestep]), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_prediction_is_the_mean_noise_given_the_noisy_image(kind):
    # E[(ε − ε̂) f(x_t)] = 0 for every f: here x_t itself and its cube, over many draws from the model itself.
    density = fitted(kind, vectors(60))
    model = ClosedForm(density)
    rng = np.random.default_rng(2)
    count, timestep = 20_000, 300
    x = density.draw(count, torch.Generator().manual_seed(3)).numpy()
    noise = rng.standard_normal(x.shape)
    noisy = math.sqrt(SIGNAL[timestep]) * x + math.sqrt(1 - SIGNAL[timestep]) * noise
    rest = noise - predicted(model, x, noise, timestep)
    for probe in (noisy, noisy**3 / 5):
        products = rest * probe
        errors = products.mean(axis=0) / (products.std(axis=0) / math.sqrt(count))
        assert np.abs(errors).max() < 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_is_the_slope_of_the_log_density(kind):
    density = fitted(kind, vectors(40))
    x = torch.from_numpy(vectors(40) + 0.002).requires_grad_()
    (slope,) = torch.autograd.grad(density.log_density(x).sum(), x)
    assert torch.allclose(density.score(x.detach(), 1.0), slope, rtol=1e-8, atol=1e-8)


def test_a_population_model_knows_nobody_and_a_memorising_one_draws_its_members():
    x = vectors(10)
    population, memory = fitted("population", x), fitted("memorising", x)
    assert torch.equal(population.score(torch.ones(1, 32), 0.5), -torch.ones(1, 32))
    drawn = memory.draw(50, torch.Generator().manual_seed(0)).numpy()
    assert np.abs(drawn[:, None] - x).max(axis=2).min(axis=1).max() < 0.06


def test_the_model_plays_its_roles():
    model = ClosedForm(fitted("gaussian", vectors(40)))
    assert isinstance(model, Denoising)
    assert isinstance(model, Likelihood)
    assert (model.levels.diff() < 0).all()


def test_the_likelihood_is_that_of_the_images():
    x = vectors(40)
    model = ClosedForm(fitted("population", x))
    batch = {"pixels": torch.from_numpy(x / 4).float().reshape(-1, 1, 4, 8)}
    expected = -0.5 * (x**2).sum(axis=1) - 16 * math.log(2 * math.pi) + 32 * math.log(4)
    assert model.log_prob(batch).numpy() == pytest.approx(expected, rel=1e-5)


def test_half_of_the_patients_are_members_and_each_is_in_half_of_the_shadows():
    made = case("gaussian", Access.LOSS, 0, members=40, shadows=6, released=10, reference=0)
    assert made.member.sum() == 40
    inside = np.array([shadow.member for shadow in made.world.shadows])
    assert inside.shape == (6, 80)
    assert (inside.sum(axis=0) == 3).all()
    assert (inside.sum(axis=1) == 40).all()
    assert made.world.reference is None


def test_a_gaussian_is_not_fitted_to_too_few():
    with pytest.raises(ValueError, match="more than 32 images"):
        fitted("gaussian", vectors(32))


def test_images_of_one_patient_are_alike():
    made = case("population", Access.LOSS, 0, members=300, images=2, released=1, reference=0)
    x = to_vectors(made.world.candidates.read()).reshape(-1, 2, 32)
    assert np.corrcoef(x[:, 0].ravel(), x[:, 1].ravel())[0, 1] == pytest.approx(0.5, abs=0.03)
    assert x.var() == pytest.approx(1, abs=0.03)


def test_the_target_grants_no_more_than_was_asked_for():
    made = case("gaussian", Access.RELEASED, 0, members=40, shadows=2, released=1, reference=0)
    for side in (made.target, made.world.shadows[0]):
        with pytest.raises(AccessError, match="noise prediction"):
            side.oracle.denoiser()


def test_the_gaussian_figure_is_that_of_plain_formulas():
    # The reference figure .818±.033 is for noises of each image's own; one noise for all images tells more.
    own, shared = [], []
    for seed in range(8):
        made = case("gaussian", Access.LOSS, seed, reference=0, released=1)
        x = to_vectors(made.world.candidates.read())
        mean, cov = x[made.member].mean(axis=0), np.cov(x[made.member].T, bias=True)
        a = SIGNAL[100]
        way = math.sqrt(1 - a) * np.linalg.inv(a * cov + (1 - a) * np.eye(32))
        rng = np.random.default_rng(seed)
        for found, shape in ((own, x.shape), (shared, (32,))):
            total = np.zeros(len(x))
            for _ in range(16):
                noise = rng.standard_normal(shape)
                noisy = math.sqrt(a) * x + math.sqrt(1 - a) * noise
                total += (((noisy - math.sqrt(a) * mean) @ way - noise) ** 2).sum(axis=1)
            inside, outside = total[made.member], total[~made.member]
            found.append((inside[:, None] < outside).mean())
    assert np.mean(own) == pytest.approx(0.818, abs=3 * 0.033 * math.sqrt(1 / 8 + 1 / 10))
    assert np.mean(shared) == pytest.approx(0.895, abs=3 * 0.026 * math.sqrt(1 / 8 + 1 / 30))


def test_known_answers_are_right_for_every_membership_attack_and_quick():
    start = time.process_time()
    answers = list(known_answers(5, components()))
    assert time.process_time() - start < 10
    assert [a for a in answers if not a.right] == []
    names = {c.name for c in components()}
    for kind in ("population", "memorising", "gaussian"):
        assert {a.attack for a in answers if a.model == kind} == names


class Turned:
    """An attack with its scores the wrong way round."""

    def __init__(self, attack):
        self._attack = attack

    def __getattr__(self, name):
        return getattr(self._attack, name)

    def run(self, target, world, rng):
        scores = self._attack.run(target, world, rng)
        return evolve(scores, values=-scores.values)


def test_known_answers_find_an_attack_that_is_the_wrong_way_round():
    turned = [
        Component(c.name, c.summary, lambda s, c=c: Turned(c.build(s)), c.settings)
        for c in components()
        if c.name in ("pia", "domias")
    ]
    wrong = {(a.attack, a.model) for a in known_answers(5, turned) if not a.right}
    assert wrong == {(name, kind) for name in ("pia", "domias") for kind in ("memorising", "gaussian")}


class Cheat:
    """An attack that knows the truth even where there is nothing to find."""

    game, access, holds, labels, shadows = "membership", Access.RELEASED, "training images", False, 0

    def __init__(self, member):
        self._member = member

    def run(self, target, world, rng):
        from privagams.access import Scores

        return Scores(self._member.astype(float))


def test_known_answers_find_an_attack_that_sees_what_is_not_there():
    member = case("population", Access.RELEASED, 5).member
    answers = list(known_answers(5, [Component("cheat", "Cheats.", lambda _: Cheat(member))]))
    assert [(a.model, a.right) for a in answers] == [("population", False), ("memorising", True)]


def test_the_same_seed_gives_the_same_figure():
    build = {c.name: c for c in components()}["domias"]
    attack = build.build(build.settings())
    assert measured_auc(attack, "kde", 4) == measured_auc(attack, "kde", 4)
