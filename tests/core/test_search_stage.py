"""The stage that searches: what a score is given, what is paid before the first training, what is left and told."""

import hashlib
import json
import os
import random
import shutil
import tomllib
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import evolve

from privagams import search as searches
from privagams import searching
from privagams.component import Component
from privagams.config import check
from privagams.context import Context, open_home
from privagams.errors import BudgetError, StageError
from privagams.evidence import Measurement
from privagams.ledger.accounting import epsilon
from privagams.ledger.events import SearchCost, spending
from privagams.ledger.ledger import Ledger
from privagams.plan import make_plan
from privagams.plugins import Offer, discover
from privagams.records_store import write_records
from privagams.search import plan_search
from privagams.splits import MEMBER, NONMEMBER, REFERENCE, SplitTable
from privagams.stage_inputs import load_model
from privagams.stages import perform

PIPELINE = """
api = 1
name = "tiny"
[source]
use = "images"
dataset = "set"
table = "t.csv"
[tiles]
size = 16
mpp = "native"
[split]
members = 0.5
reference = 0.25
[public]
patients = 40
classes = { a = 0.5, b = 0.5 }
[budget]
epsilon = 10.0
delta = 1e-3
[[releases]]
name = "one"
images = 4
generator = { use = "dp-merf", steps = 2, features = 8, batch = 2, width = 4 }
mechanism = { use = "noisy-sum", epsilon = 4.0, delta = 1e-3 }
[releases.search]
trials = 3
score = "recording"
images = 6
over = { learning_rate = [1e-3, 1e-2], width = [4, 8] }
[[attacks]]
use = "rmia"
shadows = 4
[audit]
canaries = 256
"""
PATIENTS = 40
SHADES = {MEMBER: 40, NONMEMBER: 120, REFERENCE: 200}
"""Every image of a role is of one shade, so that one look at an image tells whose it is."""


class Recording:
    """A metric that keeps what it was given; the first figure is as `figure` says."""

    better = "lower"

    def __init__(self):
        self.given, self.figure = [], lambda number: -float(number)

    def measure(self, real, released, world, rng):
        features = [world.features(searching.Use("texture"), records) for records in (real, released)]
        self.given.append(SimpleNamespace(real=real, released=released, world=world, features=features))
        value = self.figure(len(self.given) - 1)
        yield Measurement("mine", value, value, value, 1)
        raise AssertionError("only the first figure counts")


@pytest.fixture(scope="module")
def priced():
    """Accountants take seconds; every test asks the same."""
    known = {}

    def of(models, search, mechanism, patients):
        key = (search.distribution, mechanism.epsilon)
        if key not in known:
            known[key] = plan_search(models, search, mechanism, patients)
        return known[key]

    return of


@pytest.fixture
def kit(tmp_path, monkeypatch, priced):
    """`fit()` performs the stage on records that lie in the store; `metric` records, `trials` are as many."""
    torch.set_num_threads(1)
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path / "home"))
    secrets = tmp_path / "home" / "set"
    secrets.mkdir(parents=True, mode=0o700)
    for name in ("key", "salt"):  # fixed, so that every role has patients
        (secrets / name).write_bytes(hashlib.sha256(name.encode()).digest())
    monkeypatch.setattr(searches, "plan_search", priced)
    kit = SimpleNamespace(metric=Recording(), told=[], trials=3, overrides={})
    monkeypatch.setattr(searches, "_draw_trials", lambda settings: kit.trials)
    offer = Offer("metrics", Component("recording", "Records.", lambda _: kit.metric), "tests", "1")
    found = discover()
    kit.registry = evolve(found, offers=(*found.offers, offer))

    def prepare(text=PIPELINE):
        pipeline, _ = check(tomllib.loads(text), tmp_path, kit.registry)
        kit.context = Context(pipeline, tmp_path / "run", open_home("set"))
        kit.plan = make_plan(pipeline, kit.registry, "source", "secrets")
        tile, split = kit.plan.of("tile")[0], kit.plan.of("split")[0]
        if not kit.context.store.has("tile", tile.key):
            (tmp_path / "run" / "artifacts").mkdir(parents=True, exist_ok=True)
            _tiles(kit, tile, split)
        (kit.stage,) = kit.plan.of("fit")
        kit.folder = kit.context.store.path("fit", kit.stage.key)
        kit.ledger = Ledger(kit.context.home.folder)
        return kit.stage

    def fit(text=PIPELINE):
        return perform(prepare(text), kit.context, kit.registry, lambda *told: kit.told.append(told))

    kit.prepare, kit.fit = prepare, fit
    return kit


def _tiles(kit, tile, split):
    """Two images of each of 40 patients: every one of a role's shade; and the split as a run makes it."""
    from privagams.splits import role_of

    names = np.repeat([f"{i:016x}" for i in range(PATIENTS)], 2)
    roles = [role_of(kit.context.pipeline.split, kit.context.home.salt, name) for name in names]
    assert set(roles) == set(SHADES)
    pixels = np.stack([np.full((16, 16, 3), SHADES[role], np.uint8) for role in roles])
    pixels[:, 0, :, 0] = np.arange(len(names))[:, None]  # no two images are alike
    numbers = np.array([f"i{i}" for i in range(len(names))])
    columns = {"patient": names, "slide": numbers, "image": numbers, "label": np.tile(["a", "b"], PATIENTS)}
    with kit.context.store.writing("tile", tile.key, {}, False) as folder:
        write_records(folder, pixels, columns)
    perform(split, kit.context, kit.registry, lambda *told: None)


def test_scores_do_not_depend_on_each_other(kit):
    """The price is of independent trials; a metric that draws from the global generators must not join them."""
    drawn = []

    def figure(number):
        drawn.append(np.random.random() + torch.rand(()).item() + random.random())
        return drawn[-1]

    kit.metric.figure = figure
    before = random.getstate(), torch.get_rng_state()
    kit.fit()
    assert len(drawn) == kit.trials + 1
    assert len(set(drawn[1:])) == 1
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_score_sees_reference_patients_and_drawn_images_alone(kit):
    kit.fit()
    table = SplitTable.load(kit.context.store.path("split", kit.plan.of("split")[0].key) / "split.parquet")
    reference = set(table.patients(REFERENCE))
    rehearsal, *scores = kit.metric.given
    assert len(scores) == 3
    assert len({id(given.real) for given in kit.metric.given}) == 1
    for given in kit.metric.given:
        for real in (given.real, given.world.candidates, given.world.reference):
            assert set(real.patients) == reference
            # Not only what the rows show: nothing else is in the array that a metric gets hold of.
            assert (np.asarray(real.pixels[:])[:, 1:] == SHADES[REFERENCE]).all()
            assert len(real.pixels) == len(real) == 2 * len(reference)
        assert set(given.world.patients) == reference
        assert not given.world.shadows
        assert given.released.pixels.shape == (6, 16, 16, 3)
        assert given.released.column("label").tolist() == ["a", "b"] * 3
        assert [len(found) for found in given.features] == [len(given.real), 6]
    # The rehearsal has noise in the place of drawn images, and the same draws serve every score.
    assert np.std(rehearsal.released.pixels) > 60


def test_what_a_score_draws_with_goes_back_to_nothing_private(kit, monkeypatch):
    seeds = []
    honest = searching.draw
    monkeypatch.setattr(searching, "draw", lambda *given: seeds.append(given[3]) or honest(*given))
    kit.fit()
    assert seeds == [[0, "one", "search"]] * 3


def test_a_stage_that_searches_travels_to_a_process_of_its_own(kit):
    kit.prepare()
    stage, context = ForkingPickler.loads(ForkingPickler.dumps((kit.stage, kit.context)))
    assert (stage, stage.key) == (kit.stage, kit.stage.key)
    assert context.pipeline.releases[0].search == kit.context.pipeline.releases[0].search


def test_the_whole_search_is_paid_for_before_the_first_training(kit):
    held = []
    kit.metric.figure = lambda number: held.append(kit.ledger.spent(kit.stage.key)) or float(number)
    kit.fit()
    rehearsal, first, *rest = held
    assert rehearsal == []
    (event,) = first
    assert all(events == first for events in rest)
    (cost,) = spending([event])
    assert isinstance(cost, SearchCost)
    assert (cost.trials, cost.distribution) == (3.0, "geometric")
    assert 3.95 < epsilon([event], 1e-3)[0] <= 4.0
    assert kit.ledger.spent(kit.stage.key) == first
    (row,) = kit.ledger.summary(1e-3)
    assert row.text.startswith("searches over trainings, each paid for as a whole: 1 (run 'tiny'")
    assert 3.95 < row.epsilon <= 4.0


def test_the_release_is_made_by_the_winners_settings(kit, monkeypatch):
    chosen, honest = [], searching._model

    def built(registry, generator, space, seed):
        chosen.append((generator["learning_rate"], generator["width"]))
        return honest(registry, generator, space, seed)

    kit.trials = 6
    kit.metric.figure = lambda number: abs(number - 4.0)  # lower is better: the fourth training wins
    monkeypatch.setattr(searching, "_model", built)
    facts = kit.fit()
    # Four looks beforehand; then each training makes its model twice, to train it and to load what was learnt.
    trainings = chosen[4:-1:2]
    assert len(trainings) == 6
    assert (facts["chosen"]["learning_rate"], facts["chosen"]["width"]) == trainings[3]
    assert facts["members"]
    assert facts["reference"], "what was chosen tells of the reference patients"
    (draw,) = kit.plan.of("release")
    model = load_model(draw, kit.context, kit.registry)
    assert {tuple(t.shape) for t in model.state_dict().values()} == {
        tuple(t.shape)
        for t in honest(
            kit.registry, {**kit.stage.settings["generator"], **facts["chosen"]}, model_space(kit), 0
        ).state_dict().values()
    }  # fmt: skip
    assert perform(draw, kit.context, kit.registry, lambda *told: None)["images"] == 4


def model_space(kit):
    from privagams.roles import Space

    return Space(16, 3, kit.context.pipeline.classes)


def test_the_better_score_wins_where_higher_is_better_too(kit, monkeypatch):
    from safetensors.torch import load_file

    kit.metric.better = "higher"
    seen = []
    honest = searching.Score.__call__
    kit.metric.figure = lambda number: -abs(number - 2.0)

    def kept(self, model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return honest(self, model)

    monkeypatch.setattr(searching.Score, "__call__", kept)
    kit.fit()
    left = load_file(kit.folder / "weights.safetensors")
    agrees = [
        all(s.keys() == left.keys() and s[n].shape == left[n].shape and bool((s[n] == left[n]).all()) for n in left)
        for s in seen
    ]  # fmt: skip
    assert agrees == [False, True, False]


def test_nothing_that_is_left_told_or_printed_tells_how_many_trainings_there_were(kit, capfd, tmp_path):
    def loud(number):
        print("scored once")
        os.write(2, b"scored once\n")
        return -float(number)

    narrow = PIPELINE.replace("width = [4, 8]", "width = [4]").replace("[1e-3, 1e-2]", "[0.001, 0.002]")
    left = []
    for kit.trials in (1, 6):
        kit.told.clear()
        kit.metric.given.clear()
        kit.metric.figure = lambda number: loud(number) if number else 0.0
        facts = kit.fit(narrow)
        files = {
            str(p.relative_to(kit.folder)): p.stat().st_size for p in kit.folder.rglob("*") if p.is_file()
        }
        manifest = json.loads((kit.folder / "manifest.json").read_text())
        left.append(
            (list(kit.told), files, facts | {"chosen": ""}, manifest | {"files": ""}, capfd.readouterr())
        )
        assert not list((tmp_path / "run" / "artifacts").glob(".partial*"))
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "home" / "set" / "ledger.jsonl").unlink()
        (tmp_path / "home" / "set" / "ledger-head.json").unlink()
    assert left[0] == left[1]
    assert len(kit.metric.given) == 7
    assert left[0][0] == [(1, 1)]
    assert left[0][4] == ("", "")


def test_a_score_that_cannot_be_had_is_found_before_anything_is_spent(kit):
    def fails(number):
        raise RuntimeError("no such class")

    kit.metric.figure = fails
    with pytest.raises(
        StageError, match=r"expected a score by 'recording' .* \(no such class\).*Nothing was spent"
    ):
        kit.fit()
    assert kit.ledger.spent() == []
    kit.metric.measure = lambda *given: []
    with pytest.raises(StageError, match="gave no figure"):
        kit.fit()
    assert kit.ledger.spent() == []


def test_a_search_of_which_nothing_came_stays_paid_and_says_why_the_release_is_absent(kit):
    kit.trials = 0
    poisson = PIPELINE.replace("trials = 3", 'trials = 3\ndistribution = "poisson"')
    with pytest.raises(StageError, match="no training was drawn, as poisson may, or none could be scored"):
        kit.fit(poisson)
    assert not kit.context.store.has("fit", kit.stage.key)
    (event,) = kit.ledger.spent(kit.stage.key)
    kit.trials = 3
    with pytest.raises(BudgetError, match="buys no second search"):
        kit.fit(poisson)
    assert kit.ledger.spent() == [event]
    assert len(kit.metric.given) == 2, "two rehearsals, and nothing was trained"


def test_a_search_cut_short_stays_paid_and_is_not_made_up_for(kit, tmp_path):
    def dies(number):
        if number == 2:
            raise KeyboardInterrupt
        return float(number)

    kit.metric.figure = dies
    with pytest.raises(KeyboardInterrupt):
        kit.fit()
    kit.metric.figure = float
    for _ in range(2):
        with pytest.raises(BudgetError, match="buys no second search"):
            kit.fit()
    assert len(kit.ledger.spent(kit.stage.key)) == 1
    (partial,) = (tmp_path / "run" / "artifacts").glob(".partial-fit-*")
    assert list(partial.iterdir()) == []


def test_a_search_that_ended_before_its_artifact_was_whole_is_not_run_again(kit, monkeypatch):
    monkeypatch.setattr(searching, "_linked", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kit.fit()
    scores = len(kit.metric.given)
    monkeypatch.undo()
    monkeypatch.setenv("PRIVAGAMS_HOME", str(kit.context.home.folder.parent))
    facts = kit.fit()
    assert len(kit.metric.given) == scores + 1, "the rehearsal alone"
    assert len(kit.ledger.spent(kit.stage.key)) == 1
    assert facts["chosen"]


def test_shadows_and_audits_train_once_as_the_winner_did(kit):
    facts = kit.fit()
    perform(kit.plan.of("release")[0], kit.context, kit.registry, lambda *told: None)
    shadow, *_ = kit.plan.of("shadow")
    (audit,) = kit.plan.of("audit")
    for stage in (shadow, audit):
        assert stage.inputs["fit"] == kit.stage.artifact
        generator, mechanism = searching.once_more(stage, kit.context, kit.registry)
        assert generator == {**kit.stage.settings["generator"], **facts["chosen"]}
        assert mechanism.epsilon == facts["epsilon_of_one"] < 3
    made = perform(shadow, kit.context, kit.registry, lambda *told: None)
    assert {**kit.stage.settings["generator"], **made.get("chosen", {})} == generator
    found = perform(audit, kit.context, kit.registry, lambda *told: None)
    assert found["noise_multipliers"] == pytest.approx([facts["noise_multiplier"]])
    assert found["faults"] == []
    assert len(kit.ledger.spent()) == 1, "neither of them is charged"
