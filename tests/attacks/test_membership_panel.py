"""Laws that hold for every membership attack of the package."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from attrs import evolve

from privagams.access import Access, Target
from privagams.errors import AccessError, NotApplicable
from privagams.judge.intervals import auc
from privagams.oracle import Oracle
from privagams.records import Records
from privagams.settings import Faults, structure
from privagams.testing.closed_form import case, level_at, measured_auc
from privagams_attacks.membership.offers import components

OFFERS = {component.name: component for component in components()}
LOW = level_at(100)
RELEASED = ("calibrated-distance", "monte-carlo", "domias")
LEVELLED = {"loss": {"levels": [LOW]}, "pia": {"level": LOW}, "secmi": {"level": LOW}, "sima": {"level": LOW}}
LEVELLED |= {"likelihood": {}}
SHADOWED = {
    f"{name}-{mode}": {"levels": [LOW], "mode": mode}
    for name in ("lira", "rmia")
    for mode in ("online", "offline")
}
ALL = (*RELEASED, "domias-kde", *LEVELLED, *SHADOWED, "lira-distance", "rmia-distance")
SMALL = {"reference": 60, "released": 300}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def attack(variant):
    name = variant if variant in OFFERS else variant.rsplit("-", 1)[0]
    settings = {**LEVELLED, **SHADOWED}.get(variant, {})
    if variant == "domias-kde":
        settings = {"density": "kde"}
    if variant.endswith("-distance") and variant not in OFFERS:
        settings = {"signal": "distance"}
    offer = OFFERS[name]
    return offer.build(None if offer.settings is None else structure(settings, offer.settings))


def scores(made_attack, made, seed=9):
    return made_attack.run(made.target, made.world, np.random.default_rng(seed)).values


def made_for(made_attack, kind, seed=1, **options):
    return case(kind, made_attack.access, seed, **{**SMALL, "shadows": made_attack.shadows, **options})


def test_all_attacks_are_offered_and_declare_what_they_take():
    assert set(OFFERS) == {*RELEASED, *LEVELLED, "lira", "rmia"}
    for variant in ALL:
        made = attack(variant)
        assert made.game == "membership"
        assert made.holds == "training images"
        by_release = variant in (*RELEASED, "domias-kde", "lira-distance", "rmia-distance")
        assert made.access == (Access.RELEASED if by_release else Access.LOSS)
        assert made.shadows == (8 if variant.startswith(("lira", "rmia")) else 0)


def test_listing_the_attacks_loads_no_numerics():
    code = (
        "import sys; from privagams_attacks.membership.offers import components; list(components());"
        "print([m for m in ('torch', 'numpy', 'scipy', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("variant", ALL)
def test_the_population_model_gives_chance(variant):
    # AUC of 100 against 100 varies by 0.041 when nothing is known; a mean of 3 seeds by 0.024.
    found = [measured_auc(attack(variant), "population", seed, **SMALL) for seed in range(3)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * 0.041 / np.sqrt(3))


@pytest.mark.parametrize("variant", ALL)
def test_a_model_of_strangers_gives_chance(variant):
    # Here shadows and target differ from each other, as those of the population model do not.
    made = attack(variant)
    found = []
    for seed in range(3):
        own, strange = made_for(made, "gaussian", seed), made_for(made, "gaussian", seed + 50)
        values = made.run(strange.target, own.world, np.random.default_rng(seed)).values
        found.append(auc(values[own.member], values[~own.member]))
    assert np.mean(found) == pytest.approx(0.5, abs=4 * 0.041 / np.sqrt(3))


@pytest.mark.parametrize("variant", [*LEVELLED, *SHADOWED])
def test_a_memorising_model_is_seen_through_by_its_answers(variant):
    assert measured_auc(attack(variant), "memorising", 2, **SMALL) == 1.0


@pytest.mark.parametrize("variant", [*RELEASED, "domias-kde", "lira-distance", "rmia-distance"])
def test_a_memorising_model_is_seen_through_by_its_release(variant):
    least = 0.9 if variant == "domias" else 0.999  # one Gaussian cannot show single images
    assert measured_auc(attack(variant), "memorising", 2, released=1000, reference=1000) >= least


@pytest.mark.parametrize("variant", ALL)
def test_members_score_higher_also_with_several_images_a_patient(variant):
    assert measured_auc(attack(variant), "gaussian", 3, images=3, members=60, released=2000) > 0.55


@pytest.mark.parametrize("variant", ALL)
def test_the_order_of_candidates_changes_nothing(variant):
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", images=2, members=40)
    rng = np.random.default_rng(5)
    order = rng.permutation(len(made.world.patients))
    records = rng.permutation(len(made.world.candidates))
    shadows = tuple(evolve(shadow, member=shadow.member[order]) for shadow in made.world.shadows)
    world = evolve(
        made.world,
        patients=made.world.patients[order],
        candidates=made.world.candidates.take(records),
        shadows=shadows,
    )
    moved = made_attack.run(made.target, world, np.random.default_rng(9)).values
    before = scores(made_attack, made)
    assert np.abs(moved - before[order]).max() < 1e-6 * np.ptp(before)


@pytest.mark.parametrize("reference", [60, 0])
@pytest.mark.parametrize("variant", ALL)
def test_duplicated_images_change_nothing(variant, reference):
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", images=2, members=40, reference=reference)
    known = made.world.candidates
    rng = np.random.default_rng(6)
    twice = known.take(rng.permutation(np.r_[np.arange(len(known)), rng.integers(len(known), size=50)]))
    again = made_attack.run(
        made.target, evolve(made.world, candidates=twice), np.random.default_rng(9)
    ).values
    before = scores(made_attack, made)
    assert np.abs(again - before).max() < 1e-6 * np.ptp(before)


@pytest.mark.parametrize("variant", ALL)
def test_without_a_reference_scores_are_finite_and_still_tell(variant):
    assert measured_auc(attack(variant), "gaussian", 4, reference=0) > 0.55


@pytest.mark.parametrize("variant", ALL)
def test_nothing_above_the_declared_access_is_asked(variant, monkeypatch):
    asked = []
    opened = Oracle._open
    monkeypatch.setattr(
        Oracle, "_open", lambda self, level, what: asked.append(level) or opened(self, level, what)
    )
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", members=40)
    scores(made_attack, made)
    assert max(asked, default=Access.RELEASED) == made_attack.access


@pytest.mark.parametrize("variant", [*LEVELLED, *SHADOWED])
def test_a_target_that_grants_less_is_not_got_round(variant):
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", members=40)
    with pytest.raises(AccessError):
        made_attack.run(evolve(made.target, granted=Access.QUERY), made.world, np.random.default_rng(0))


@pytest.mark.parametrize("variant", LEVELLED)
def test_without_a_model_there_is_nothing_to_ask(variant):
    made = case("gaussian", Access.LOSS, 1, **SMALL)
    bare = Target(made.target.released, Access.LOSS)
    with pytest.raises(NotApplicable, match="no model"):
        attack(variant).run(bare, made.world, np.random.default_rng(0))


class OneSum:
    """A model fitted to one sum: no loss, no noise prediction, no likelihood."""

    def sample(self, labels, rng, progress):
        raise AssertionError("nobody asked for draws")


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("loss", "no loss"), ("likelihood", "no likelihood")]
    + [(name, "no diffusion model") for name in ("pia", "secmi", "sima")],
)
def test_a_model_that_offers_nothing_gives_the_reason(variant, reason):
    made = case("gaussian", Access.LOSS, 1, **SMALL)
    bare = Target(made.target.released, Access.LOSS, model=OneSum)
    with pytest.raises(NotApplicable, match=reason):
        attack(variant).run(bare, made.world, np.random.default_rng(0))


@pytest.mark.parametrize("variant", [*RELEASED, "lira-distance"])
def test_a_release_without_images_gives_the_reason(variant):
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", members=40)
    empty = Records(np.empty((0, 4, 8, 1), np.uint8), {})
    with pytest.raises(NotApplicable, match="no images"):
        made_attack.run(evolve(made.target, released=empty), made.world, np.random.default_rng(0))


@pytest.mark.parametrize("variant", ALL)
def test_one_patient_alone_and_identical_images_give_finite_scores(variant):
    made_attack = attack(variant)
    made = made_for(made_attack, "gaussian", members=40)
    one = made.world.candidates.take(np.arange(1))
    shadows = tuple(evolve(shadow, member=shadow.member[:1]) for shadow in made.world.shadows)
    world = evolve(made.world, candidates=one, patients=made.world.patients[:1], shadows=shadows)
    for reference in (made.world.reference, None):
        alone = evolve(world, reference=reference)
        assert made_attack.run(made.target, alone, np.random.default_rng(0)).values.shape == (1,)
    same = Records(np.full_like(made.world.candidates.read(), 130), made.world.candidates.table)
    for reference in (made.world.reference, None):
        flat = evolve(made.world, candidates=same, reference=reference)
        assert np.isfinite(made_attack.run(made.target, flat, np.random.default_rng(0)).values).all()


def test_a_patient_without_images_is_an_error_that_says_so():
    made = case("gaussian", Access.LOSS, 1, members=40, **SMALL)
    world = evolve(made.world, patients=np.append(made.world.patients, "nobody"))
    with pytest.raises(ValueError, match="none for 1 of 81"):
        attack("loss").run(made.target, world, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("loss", {"levels": []}),
        ("loss", {"levels": [1.0]}),
        ("loss", {"noises": 0}),
        ("pia", {"level": 0.0}),
        ("secmi", {"steps": 0}),
        ("domias", {"dimensions": 65}),
        ("domias", {"density": "flow"}),
        ("lira", {"shadows": 5}),
        ("lira", {"shadows": 2}),
        ("rmia", {"gamma": 0.5}),
    ],
)
def test_settings_out_of_bounds_are_refused(name, settings):
    with pytest.raises(Faults):
        structure(settings, OFFERS[name].settings)


def test_every_setting_has_a_word_of_explanation():
    import attrs

    for component in OFFERS.values():
        for field in attrs.fields(component.settings) if component.settings else ():
            assert field.metadata.get("doc") or field.metadata.get("role"), f"{component.name}.{field.name}"
