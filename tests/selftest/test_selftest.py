"""The known-answer suite: right on what is shipped, and wrong as soon as any piece of it is."""

import json

import pytest
from attrs import evolve

from privagams.access import Scores
from privagams.component import Component
from privagams.judge import bounds, caps, intervals, membership
from privagams.plugins import Offer, Registry, discover
from privagams.selftest import known_bounds, run_selftest, show_selftest, suite
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.settings import DpSgdSettings

NOBODY = Registry()


def quiet(done, total):
    pass


def failed(registry=NOBODY):
    return [check.name for check in run_selftest(registry, quiet).failed]


def offered(role, component):
    return Registry((Offer(role, component, "kit", "1"),))


def test_all_that_is_installed_gives_every_known_answer():
    told = []
    registry = discover()
    found = run_selftest(registry, lambda *seen: told.append(seen))
    assert found.failed == ()
    assert found.passed
    names = " ".join(check.name for check in found.checks)
    expected = ("µ = 1: tpr@0.01", "mean tracing", "one-run", "f-DP", "Clopper", "randomised response")
    for part in (*expected, *registry.names("mechanisms"), "loss on a memorising model"):
        assert part in names
    assert told[-1] == (told[-1][1],) * 2
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert facts["passed"] == facts["total"] == len(facts["checks"]) > 40
    assert all(check["passed"] and check["seconds"] >= 0 for check in facts["checks"])


def shifted(function, by):
    return lambda *given, **named: function(*given, **named) + by


BREAKS = {
    "a flipped AUC": (membership, "auc", lambda real: lambda a, b: real(b, a), "µ = 1: auc"),
    "a threshold on the wrong side": (
        membership,
        "_threshold",
        lambda real: lambda others, exceeding: real(others, 3 * exceeding),
        "µ = 1: tpr@0.1",
    ),
    "an AUC that is too high": (intervals, "auc", lambda real: shifted(real, 0.05), "mean tracing"),
    "a one-run bound": (bounds, "one_run", lambda real: shifted(real, 1e-3), "one-run bound"),
    "an f-DP bound": (bounds, "one_run_fdp", lambda real: shifted(real, -1e-3), "f-DP bound"),
    "a Clopper–Pearson bound at the whole miss": (
        bounds,
        "_upper",
        lambda real: lambda errors, n, miss: real(errors, n, 2 * miss),
        "Clopper–Pearson bound",
    ),
    "a Gaussian ε": (bounds, "gaussian_epsilon", lambda real: shifted(real, 1e-2), "ε of the Gaussian"),
    "a cap for one patient too few": (
        caps,
        "linkage_cap",
        lambda real: lambda n, epsilon, delta: real(n - 1, epsilon, delta),
        "largest top-1 allowed",
    ),
    "a bound from linkage without δ": (
        caps,
        "epsilon_of_linkage",
        lambda real: lambda share, n, delta: real(share, n, 0.0),
        "top-1 allowed at δ",
    ),
    "ranks from the wrong end": (
        known_bounds,
        "rank_probes",
        lambda real: lambda scores, *rest: real(-scores, *rest),
        "ε = 4: top-1",
    ),
}


@pytest.mark.parametrize(("module", "name", "broken", "noticed"), BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_judge_is_noticed(module, name, broken, noticed, monkeypatch):
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    found = failed()
    assert any(noticed in check for check in found), found


def test_an_intact_judge_fails_no_check():
    assert failed() == []


class Flipped:
    def __init__(self, attack):
        self._attack = attack

    def __getattr__(self, name):
        return getattr(self._attack, name)

    def run(self, target, world, rng):
        return Scores(-self._attack.run(target, world, rng).values)


def test_an_attack_with_the_wrong_sign_is_noticed():
    component = discover().get("attacks", "pia").component
    flipped = evolve(component, build=lambda settings: Flipped(component.build(settings)))
    assert failed(offered("attacks", flipped)) == [
        "pia on a memorising model: auc",
        "pia on a gaussian model: auc",
    ]


class Blind(Flipped):
    """Scores by name alone."""

    def run(self, target, world, rng):
        return Scores(rng.permutation(len(world.patients)).astype(float))


def test_an_attack_that_finds_nothing_is_noticed():
    component = discover().get("attacks", "pia").component
    blind = evolve(component, build=lambda settings: Blind(component.build(settings)))
    assert "pia on a memorising model: auc" in failed(offered("attacks", blind))


def raises(settings):
    raise RuntimeError("no such thing")


def test_a_component_that_raises_fails_its_checks_with_the_reason():
    attack = evolve(discover().get("attacks", "pia").component, build=raises)
    mechanism = evolve(discover().get("mechanisms", "dp-sgd").component, build=raises)
    for role, component in (("attacks", attack), ("mechanisms", mechanism)):
        found = run_selftest(offered(role, component), quiet)
        assert {check.note for check in found.failed} == {"RuntimeError: no such thing"}
        assert not found.passed
        json.dumps(found.to_json(), allow_nan=False)


class HalfTheNoise(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        return super().noisy_sum(like, noise_multiplier / 2, patients)


def test_a_mechanism_with_too_little_noise_is_noticed():
    component = Component("kit-sgd", "Half the noise.", HalfTheNoise, DpSgdSettings, "gradients")
    found = failed(offered("mechanisms", component))
    assert found == [
        f"kit-sgd: noise of the {turn} empty sum over the noise claimed" for turn in ("first", "second")
    ]


def test_the_command_says_what_it_found_and_returns_whether_it_was_right(monkeypatch, capsys):
    monkeypatch.setattr(suite, "discover", lambda: NOBODY)
    assert show_selftest(as_json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["passed"] == facts["total"] > 20
    monkeypatch.setattr(bounds, "gaussian_epsilon", lambda mu, delta: 1.0)
    assert show_selftest(as_json=False) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "not to be trusted" in out
