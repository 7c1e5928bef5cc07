"""[releases.search] as a user writes it: what is accepted, and what is refused with its path before anything runs."""

import json
import tomllib
from types import SimpleNamespace

import pytest
from attrs import evolve

from privagams.beforehand import refuse_two_searches, refuse_what_cannot_be_made
from privagams.component import Component
from privagams.config import check, set_value
from privagams.errors import ConfigError, ExitCode
from privagams.pipeline import combinations
from privagams.plan import make_plan
from privagams.plugins import Offer, discover
from privagams.schema import schema_text
from privagams.search_beforehand import refuse_search_by_several

GOOD = """
api = 1
name = "p"
[source]
use = "images"
dataset = "d"
table = "t.csv"
[tiles]
size = 16
mpp = "native"
[split]
reference = 0.2
[public]
patients = 100
classes = { a = 0.5, b = 0.5 }
[budget]
epsilon = 10.0
delta = 1e-4
[[releases]]
name = "one"
images = 10
generator = { use = "diffusion", steps = 4, channels = [8, 16], sampling_steps = 2 }
mechanism = { use = "dp-sgd", epsilon = 8, delta = 1e-4 }
[releases.search]
trials = 5
distribution = "geometric"
score = { use = "kid" }
images = 20
over = { learning_rate = [1e-3, 1], channels = [[8, 16], [16, 16]] }
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture
def checked(registry, tmp_path):
    def of(text=GOOD, *overrides):
        document = tomllib.loads(text)
        for override in overrides:
            set_value(document, override)
        return check(document, tmp_path, registry)[0]

    return of


@pytest.fixture
def faults(checked):
    def of(text):
        with pytest.raises(ConfigError) as caught:
            checked(text)
        return caught.value.problems

    return of


@pytest.fixture
def refused(checked, registry):
    def of(text, registry=registry):
        with pytest.raises(ConfigError) as caught:
            refuse_what_cannot_be_made(checked(text), registry)
        return caught.value.problems

    return of


def test_a_sound_search_is_accepted_with_its_defaults_filled_in(checked):
    search = checked().releases[0].search
    assert search.score.settings["embedder"] == {"use": "texture"}
    assert search.over == {"learning_rate": [1e-3, 1.0], "channels": [[8, 16], [16, 16]]}
    assert len(combinations(search.over)) == 4
    short = checked(GOOD.replace("trials = 5\n", "").replace("images = 20\n", "")).releases[0].search
    assert (short.trials, short.distribution, short.images) == (10.0, "geometric", 500)
    assert checked(GOOD, "releases.0.search.trials=3").releases[0].search.trials == 3.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trials = 5", "trials = 0.5", "releases[0].search.trials: must be >= 1"),
        ("trials = 5", 'trials = "5"', 'releases[0].search.trials: expected a number, found "5"'),
        ("trials = 5", "trails = 5", "unknown setting 'trails'; did you mean 'trials'?"),
        ('"geometric"', '"geometrical"', "releases[0].search.distribution: expected 'poisson' or 'geometric'"),
        ("images = 20", "images = 1", "releases[0].search.images: must be >= 2"),
        ('{ use = "kid" }', '{ use = "kit" }', "releases[0].search.score.use: no metric named 'kit'"),
        ('{ use = "kid" }', '{ use = "kid", degree = 0 }', "releases[0].search.score.degree: must be >= 1"),
        ('score = { use = "kid" }\n', "", "releases[0].search.score: required setting missing"),
        ("[1e-3, 1]", "[1e-3, -1.0]", "releases[0].search.over.learning_rate[1]: must be > 0"),
        ("[1e-3, 1]", '["1e-3"]', "releases[0].search.over.learning_rate[0]: expected a number"),
        ("[1e-3, 1]", "[1, 1.0]", "releases[0].search.over.learning_rate[1]: 1.0 is there twice"),
        ("[1e-3, 1]", "[]", "releases[0].search.over.learning_rate: expected a list of values to try, found an empty"),
        ("[1e-3, 1]", "1e-3", "releases[0].search.over.learning_rate: expected a list of values to try, found 0.001"),
        ("[[8, 16], [16, 16]]", "[8, 16]", "releases[0].search.over.channels[0]: expected a list of"),
        ("[[8, 16], [16, 16]]", "[[8, 9]]", "releases[0].search.over.channels[0]: expected at least one width"),
        ("learning_rate =", "learning_rte =", "over.learning_rte: unknown setting 'learning_rte' of the"),
        ("{ learning_rate = [1e-3, 1], channels = [[8, 16], [16, 16]] }", "{}", "over: names no setting of the gen"),
        ("reference = 0.2", "reference = 0.0", "split.reference: required by releases[0].search"),
        ("[split]\nreference = 0.2\n", "", "split.reference: required by releases[0].search"),
        (
            'mechanism = { use = "dp-sgd", epsilon = 8, delta = 1e-4 }',
            "yardstick = true",
            "releases[0].search: a release without a mechanism",
        ),
        (
            'images = 10\ngenerator = { use = "diffusion", steps = 4, channels = [8, 16], sampling_steps = 2 }\n'
            'mechanism = { use = "dp-sgd", epsilon = 8, delta = 1e-4 }',
            'of = "members"\nmechanism = { use = "pixel-laplace", epsilon = 8.0 }',
            "releases[0].search: only for drawn images",
        ),
        (
            "learning_rate = [1e-3, 1]",
            "sampling_steps = [2, 30], timesteps = [20, 1000]",
            "releases[0].search.over: with channels = [8, 16], sampling_steps = 30, timesteps = 20: sampling_steps: "
            "expected at most timesteps (20)",
        ),
        (
            "[1e-3, 1]",
            str([i + 1 for i in range(501)]),
            "releases[0].search.over: expected at most 1000 combinations, found 1002",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_with_its_path(faults, old, new, said):
    assert old in GOOD
    assert said in "\n".join(faults(GOOD.replace(old, new)))


def test_all_that_is_wrong_with_a_search_is_told_at_once(faults):
    found = faults(
        GOOD.replace("[1e-3, 1]", "[-1.0, true]").replace("[16, 16]]", "[16, 17]]").replace("channels = [[", "x = [[")
    )  # fmt: skip
    assert len(found) == 3, found


def test_candidates_that_would_change_the_noisy_sums_are_refused_before_anything_runs(refused):
    (said,) = refused(GOOD.replace("learning_rate = [1e-3, 1]", "steps = [4, 6]"))
    assert said.startswith("releases[0].search.over.steps: expected candidates that ask members for the same")
    assert "found 4 with channels = [8, 16], steps = 4 and 6 with channels = [8, 16], steps = 6" in said
    (said,) = refused(
        GOOD.replace("steps = 4,", 'steps = 4, train_on = "reference",').replace(
            "[[8, 16], [16, 16]]", "[[8, 16]]"
        )
    )
    assert "ask nothing of members" in said


def with_metric(registry, metric):
    offer = Offer("metrics", Component("mine", "A metric.", lambda _: metric), "mine", "1")
    return evolve(registry, offers=(*registry.offers, offer))


def test_a_metric_that_cannot_tell_the_best_is_refused(registry, tmp_path, refused):
    (said,) = refused(GOOD.replace('"kid"', '"psnr"'))
    assert said.startswith("releases[0].search.score: 'psnr' compares copies with their originals")
    more = with_metric(registry, SimpleNamespace(measure=lambda *given: []))
    pipeline, _ = check(tomllib.loads(GOOD.replace('"kid"', '"mine"')), tmp_path, more)
    with pytest.raises(ConfigError, match="does not say whether higher or lower is better"):
        refuse_what_cannot_be_made(pipeline, more)


def test_a_search_by_several_processes_is_refused(checked, registry, tmp_path, monkeypatch):
    prepared = SimpleNamespace(
        plan=make_plan(checked(), registry, "s", "s"),
        store=SimpleNamespace(has=lambda verb, key: False),
    )
    refuse_search_by_several(prepared)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("TORCHELASTIC_USE_AGENT_STORE", "True")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"fit one: expected one process .* Run it without torchrun"):
        refuse_search_by_several(prepared)
    prepared.store.has = lambda verb, key: True
    refuse_search_by_several(prepared)


def test_two_searches_in_one_run_are_refused(checked, registry):
    two = GOOD + GOOD[GOOD.index("[[releases]]") :].replace('"one"', '"two"')
    done = set()
    prepared = SimpleNamespace(
        plan=make_plan(checked(two), registry, "s", "s"),
        store=SimpleNamespace(has=lambda verb, key: f"{verb}-{key}" in done),
    )
    with pytest.raises(ConfigError, match=r"found 2 \(fit one, fit two\).*leave one out") as caught:
        refuse_two_searches(prepared)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    done.add(prepared.plan.of("fit", "one")[0].artifact)
    refuse_two_searches(prepared)


def test_releases_are_numbered_as_in_the_file_beside_one_that_cannot_be_read(faults):
    release = GOOD[GOOD.index("[[releases]]") :]
    wrong = release.replace('"one"', '"none"').replace("images = 10", 'images = "ten"')
    found = faults(GOOD.replace(release, wrong + release + release))
    assert any(text.startswith("releases[0].images: ") for text in found), found
    assert any(text.startswith("releases[2].name: 'one' is used twice") for text in found), found


def fit_of(pipeline, registry):
    (fit,) = make_plan(pipeline, registry, "s", "s").of("fit")
    return fit


def test_the_key_of_a_training_holds_the_search_and_who_scores_it(checked, registry):
    plain = fit_of(checked(GOOD.split("[releases.search]")[0]), registry)
    fit = fit_of(checked(), registry)
    assert not plain.searches
    assert "search" not in plain.settings
    assert fit.searches
    assert {"metrics:kid", "embedders:texture", "generators:diffusion", "mechanisms:dp-sgd"} == set(
        fit.components
    )
    keys = {fit.key, plain.key}
    for change in ("trials=6", "images=21", "score.degree=2", 'distribution="poisson"', "over.layers=[1]"):
        keys.add(fit_of(checked(GOOD, f"releases.0.search.{change}"), registry).key)
    keys.add(fit_of(checked(GOOD, "public.classes.a=0.4", "public.classes.b=0.6"), registry).key)
    assert len(keys) == 8
    turned = GOOD.replace("learning_rate = [1e-3, 1], channels = [[8, 16], [16, 16]]",
                          "channels = [[8, 16], [16, 16]], learning_rate = [1e-3, 1]")  # fmt: skip
    assert fit_of(checked(turned), registry).key == fit.key
    assert combinations(checked(turned).releases[0].search.over) == combinations(
        checked().releases[0].search.over
    )


def test_files_that_candidates_name_are_in_the_key_and_meant_from_the_pipeline_file(
    checked, registry, tmp_path
):
    text = GOOD.replace("steps = 4,", "steps = 4, start_public = true,").replace(
        "learning_rate = [1e-3, 1]", 'start = ["a.safetensors", "b.safetensors"]'
    )
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_text(name)
    over = checked(
        text.replace("start_public = true", 'start_public = true, start = "a.safetensors"')
    ).releases[0]
    assert over.search.over["start"] == [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    sound = text.replace("start_public = true", 'start_public = true, start = "a.safetensors"')
    before = fit_of(checked(sound), registry).key
    (tmp_path / "b.safetensors").write_text("other")
    assert fit_of(checked(sound), registry).key != before


def test_the_schema_for_editors_knows_searches():
    release = json.loads(schema_text())["properties"]["releases"]["items"]["properties"]
    search = release["search"]
    assert set(search["required"]) == {"score", "over"}
    assert search["properties"]["distribution"]["enum"] == ["poisson", "geometric"]
    assert search["additionalProperties"] is False
