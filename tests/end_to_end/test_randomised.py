"""Randomised copies from pipeline.toml to the report, the ledger and the outbox, and what happens when a run dies."""

import csv
import json
import shutil

import numpy as np
import pytest

from privagams import randomise
from privagams.config import load
from privagams.coordinates import Codec
from privagams.errors import BudgetError, StageError
from privagams.ledger.ledger import Ledger
from privagams.plugins import discover
from privagams.records_store import open_records
from privagams.run import prepare
from privagams.splits import MAIN, MEMBER, SplitTable
from privagams.stages import perform

PIPELINE = """\
api = 1
name = "tiny"
seed = 3

[source]
use = "images"
dataset = "tiny"
table = "images.csv"

[tiles]
size = 16
mpp = "native"
per_patient = 8
tissue = 0.0

[split]
members = 0.4
reference = 0.2

[public]
patients = 24
classes = { dark = 0.5, light = 0.5 }

[budget]
epsilon = 40.0
delta = 1e-3

[[releases]]
name = "pixels"
of = "members"
images_per_patient = 2
mechanism = { use = "pixel-laplace", epsilon = 6.0, label_epsilon = 1.0 }

[[releases]]
name = "latents"
of = "members"
generator = { use = "glow", train_on = "reference", steps = 3, batch = 4, depth = 1, width = 8, levels = 2 }
mechanism = { use = "latent-gaussian", epsilon = 2.0, delta = 1e-4 }

[[attacks]]
use = "nearest-patient"
gallery = "all images"

[[attacks]]
use = "latent-matching"

[[metrics]]
use = "kid"

[[metrics]]
use = "psnr"
"""


@pytest.fixture(scope="module")
def _made(once_for_all, make_tiny_project, program):
    def make(base):
        make_tiny_project(base / "project")
        (base / "project" / "pipeline.toml").write_text(PIPELINE)
        done = program(base, "run", "--jobs", "2")
        assert done.returncode == 0, done.stdout + done.stderr

    return once_for_all("randomised", make)


@pytest.fixture
def made(_made, tmp_path, monkeypatch):
    for name in ("project", "home"):
        shutil.copytree(_made / name, tmp_path / name)
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def again(made):
    """The pipeline with a second release of pixels, whose randomising is performed in this process."""

    def of(*overrides):
        project = made / "project"
        pipeline, registry = load(
            project / "pipeline.toml", ["releases.0.name=again", *overrides], discover(None)
        )
        prepared = prepare(pipeline, registry, project / "runs")
        (stage,) = prepared.plan.of("release", "again")
        return prepared, stage

    return of


def quiet(done, total):
    """Nobody listens."""


def report(base):
    return json.loads((base / "project" / "runs" / "tiny" / "report.json").read_text())


def released(prepared, stage):
    folder = prepared.store.path(stage.verb, stage.key)
    return open_records(folder, stage.artifact), np.load(folder / "rows.npy")


def members_of(prepared):
    stage = prepared.plan.of("split")[0]
    table = SplitTable.load(prepared.store.path("split", stage.key) / "split.parquet")
    return table, table.patients(MEMBER, MAIN).tolist()


def test_a_report_states_the_total_for_replacing_one_patient(made):
    pixels, latents = report(made)["releases"]
    (claim,) = pixels["claims"]
    assert claim["adjacency"] == "replace-one"
    # OpenDP's map is of the noise on its grid, so it may lie a little above what was asked for, and never below.
    assert 6.0 - 1e-3 <= claim["epsilon"] <= 6.0 + 1e-6
    assert claim["delta"] == 0
    assert 0 < claim["per_element_epsilon"] < 0.02
    assert "OpenDP" in claim["accountant"]
    assert "label" in claim["protects"]
    assert latents["claims"][0]["epsilon"] <= 2.0
    assert latents["claims"][0]["delta"] == 1e-4
    # The flow has learnt from reference patients, who are public by the pipeline's own word.
    assert latents["claims"][1]["epsilon"] == "inf"


def test_every_member_gives_exactly_the_public_number_of_images_and_no_name(made, again):
    prepared, _ = again()
    (stage,) = prepared.plan.of("release", "latents")
    records, rows = released(prepared, stage)
    table, members = members_of(prepared)
    assert sorted(table.patient[rows].tolist()) == sorted(members)
    assert set(records.table) == {"label", "group"}
    assert set(records.table["label"].tolist()) == {""}  # withheld
    assert (table.part[rows] == MAIN).all()


def test_linkage_gives_a_bound_on_epsilon_that_the_claim_is_held_against(made):
    pixels = report(made)["releases"][0]
    attack = next(a for a in pixels["attacks"] if a["attack"] == "nearest-patient")
    names = [m["name"] for m in attack["measurements"]]
    assert "epsilon-lower-bound" in names
    assert "top-1" in names


def test_an_attack_through_the_flow_runs_where_there_is_a_flow(made):
    found = report(made)
    pixels, latents = found["releases"]
    assert "latent-matching" in [a["attack"] for a in latents["attacks"]]
    assert "latent-matching" not in [a["attack"] for a in pixels["attacks"]]


def test_a_second_run_does_nothing_and_spends_nothing(made, privagams):
    before = (
        (made / "home" / "tiny" / "ledger.jsonl").read_bytes() if (made / "home" / "tiny").is_dir() else None
    )
    done = privagams("run")
    assert "Nothing to do" in done.stdout
    if before is not None:
        assert (made / "home" / "tiny" / "ledger.jsonl").read_bytes() == before


def test_a_second_release_of_the_same_patients_adds_up(made, again):
    prepared, stage = again()
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    before = ledger.total(1e-3).epsilon
    perform(stage, prepared.context, prepared.registry, quiet)
    after = ledger.total(1e-3).epsilon
    assert after == pytest.approx(before + 6.0, abs=0.01)


def test_patients_of_an_unfinished_block_are_left_out_and_stay_charged(again, monkeypatch):
    prepared, stage = again()
    _, members = members_of(prepared)
    honest, calls = randomise._Work.of, []

    def dies(self, patients):
        calls.append(list(patients))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(self, patients)

    monkeypatch.setattr(randomise._Work, "of", dies)
    with pytest.raises(KeyboardInterrupt):
        perform(stage, prepared.context, prepared.registry, quiet)
    monkeypatch.setattr(randomise._Work, "of", honest)
    facts = perform(stage, prepared.context, prepared.registry, quiet)
    records, rows = released(prepared, stage)
    table, _ = members_of(prepared)
    lost = set(calls[2])
    assert sorted(set(table.patient[rows].tolist())) == sorted(set(members) - lost)
    assert facts["images"] == len(records) == 2 * (len(members) - len(lost))
    assert "left out" in facts["notes"][0]
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    assert ledger.claim_of([stage.key], 1e-3, protects="").epsilon <= 6.0 + 1e-6
    for patient in lost:
        assert (
            ledger.total(1e-3, among=[patient]).epsilon > 6.0 + 6.0 - 0.01
        )  # the first release, and the lost one


def test_what_was_paid_for_and_lost_altogether_is_not_made_again(again, monkeypatch):
    prepared, stage = again()
    perform(stage, prepared.context, prepared.registry, quiet)
    shutil.rmtree(prepared.store.path(stage.verb, stage.key))
    with pytest.raises(BudgetError, match="another seed"):
        perform(stage, prepared.context, prepared.registry, quiet)


def test_learning_from_reference_patients_that_the_split_does_not_make_is_refused_at_once(made, privagams):
    (made / "project" / "pipeline.toml").write_text(PIPELINE.replace("reference = 0.2", ""))
    done = privagams("run")
    assert done.returncode == 2
    assert "set [split] reference" in done.stderr + done.stdout


@pytest.fixture
def without_training(made):
    """Let the flow learn from members, past any mechanism; `yardstick` says so openly."""

    def change(yardstick):
        changed = PIPELINE.replace('train_on = "reference"', 'train_on = "members"')
        said = changed.replace('name = "latents"', 'name = "latents"\nyardstick = true')
        (made / "project" / "pipeline.toml").write_text(said if yardstick else changed)

    return change


def test_a_flow_trained_on_members_without_a_mechanism_carries_no_claim(made, privagams, without_training):
    without_training(yardstick=False)
    done = privagams("run")
    assert done.returncode == 2
    assert "releases[1].training" in done.stderr + done.stdout


def test_a_yardsticks_flow_does_not_become_a_claims(made, privagams, without_training):
    without_training(yardstick=True)
    done = privagams("run")
    assert done.returncode == 0, done.stdout + done.stderr
    latents = report(made)["releases"][1]
    assert latents["yardstick"]
    assert latents["claims"] == []
    without_training(yardstick=False)
    for arguments in (("run",), ("approve", "latents", "--by", "A. Steward")):
        done = privagams(*arguments)
        assert done.returncode == 2, arguments
        assert "releases[1].training" in done.stderr + done.stdout
    assert not (made / "project" / "outbox").exists()


def test_a_flow_trained_under_dp_sgd_is_paid_for_as_well(made, privagams):
    changed = PIPELINE.replace('train_on = "reference"', 'train_on = "members"').replace(
        'mechanism = { use = "latent-gaussian"',
        'training = { use = "dp-sgd", epsilon = 3.0, delta = 1e-4, patients_per_step = 4, noise_draws = 1 }\n'
        'mechanism = { use = "latent-gaussian"',
    )
    (made / "project" / "pipeline.toml").write_text(changed)
    done = privagams("run")
    assert done.returncode == 0, done.stdout + done.stderr
    (claim,) = report(made)["releases"][1]["claims"]
    assert claim["adjacency"] == "zero-out"
    assert 3.0 < claim["epsilon"] <= 5.0
    assert claim["replace_one_epsilon"] > claim["epsilon"]


def test_a_budget_too_small_for_the_copies_is_refused_before_anything_runs(made, privagams):
    done = privagams("run", "--set", "budget.epsilon=5", "--set", "releases.0.mechanism.epsilon=7")
    assert done.returncode == 4
    assert "Refused" in done.stderr + done.stdout


def test_approved_copies_leave_without_order_and_without_names(made, privagams):
    done = privagams("approve", "pixels", "--by", "A. Steward")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = made / "project" / "outbox" / "tiny" / "pixels"
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert {row["label"] for row in rows} <= {"dark", "light"}
    assert json.loads((folder / "claim.json").read_text())["claims"][0]["adjacency"] == "replace-one"
    assert "CASE" not in "".join(path.name for path in folder.rglob("*"))


def test_a_member_whose_images_cannot_be_used_stops_randomised_copies(again, privagams):
    prepared, _ = again()
    _, members = members_of(prepared)
    for image in prepared.images:
        if image.patient == members[0]:
            image.path.write_bytes(b"no picture")
    done = privagams("run", "--set", "releases.0.name=again")
    assert done.returncode == 1
    assert "must not depend on what an image shows" in " ".join((done.stderr + done.stdout).split())


def test_an_image_that_cannot_be_encoded_stops_every_attempt_and_costs_nothing(again, monkeypatch):
    prepared, stage = again()
    ledger = Ledger(prepared.home.folder, run_folder=prepared.run_folder)
    before = ledger.total(1e-3).epsilon
    honest = Codec.encode

    def breaks(self, pixels):
        found = honest(self, pixels)
        found[-1] = np.nan
        return found

    monkeypatch.setattr(Codec, "encode", breaks)
    for _ in range(2):
        with pytest.raises(StageError, match="nothing was charged"):
            perform(stage, prepared.context, prepared.registry, quiet)
    assert ledger.total(1e-3).epsilon == before
    assert ledger.spent(fit=stage.key) == []


def test_weights_that_were_changed_are_refused_before_anybody_is_charged(again):
    prepared, _ = again("releases.1.name=more")
    (stage,) = prepared.plan.of("release", "more")
    weights = prepared.store.folder / stage.inputs["fit"] / "weights.safetensors"
    content = weights.read_bytes()
    for broken in (content[:200], content[:-8] + bytes(8)):
        weights.write_bytes(broken)
        with pytest.raises(StageError, match=r"weights\.safetensors"):
            perform(stage, prepared.context, prepared.registry, quiet)
    assert Ledger(prepared.home.folder, run_folder=prepared.run_folder).spent(fit=stage.key) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("releases.0.mechanism.label_epsilon=3.0", "releases[0].mechanism: pixel-laplace: expected epsilon"),
        (
            "releases.1.mechanism={use='latent-laplace',epsilon=1e-300}",
            "releases[1].mechanism: epsilon: expected noise of a scale below",
        ),
        ("releases.1.generator.levels=5", "releases[1].generator: glow: 5 levels need images"),
        ("releases.1.mechanism={use='latent-topk',k=100000,epsilon=1.0,delta=1e-5}", "releases[1].mechanism"),
    ],
)
def test_validate_refuses_what_could_not_be_made(made, privagams, override, said):
    done = privagams("validate", "--set", override)
    assert done.returncode == 2
    assert said in " ".join((done.stderr + done.stdout).split())
