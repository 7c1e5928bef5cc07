"""What the run makes of attacks: shadows, limits, and plugins that misbehave."""

import json
import os
import shutil

import pytest

HOSTILE = """\
import os, time
import numpy as np
from attrs import frozen
from privagams import Component, hookimpl
from privagams.access import Access, Scores


@frozen
class Settings:
    mode: str = "fine"


class Hostile:
    game, access, holds, labels, shadows = "membership", Access.RELEASED, "training images", False, 0

    def __init__(self, settings):
        self.mode = settings.mode

    def run(self, target, world, rng):
        k = len(world.patients)
        return getattr(self, self.mode)(target, world, k)

    def fine(self, target, world, k):
        return Scores(np.arange(k, dtype=float))

    def nan(self, target, world, k):
        return Scores(np.full(k, np.nan))

    def short(self, target, world, k):
        return Scores(np.zeros(k - 1))

    def unknown(self, target, world, k):
        return Scores(np.zeros(k), patients=np.array([f"nobody{i}" for i in range(k)]))

    def above(self, target, world, k):
        target.oracle.model()

    def writes(self, target, world, k):
        world.candidates.table["patient"][:] = "me"

    def hangs(self, target, world, k):
        time.sleep(3600)

    def dies(self, target, world, k):
        os._exit(9)

    def constant(self, target, world, k):
        return Scores(np.zeros(k))


@hookimpl
def privagams_attacks():
    yield Component("test-hostile", "Does what it should not.", Hostile, Settings)
"""


@pytest.fixture
def hostile(project, tmp_path):
    """A lab's plugin on the path, installed as far as Python can tell."""
    site = tmp_path / "site"
    info = site / "test_hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "test_hostile.py").write_text(HOSTILE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: test-hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[privagams]\nattacks = test_hostile\n")
    return site


def with_attacks(project, attacks, releases=("raw",), audit=""):
    """Keep some releases and no metric, and put other attacks into the pipeline."""
    text = (project / "pipeline.toml").read_text()
    head, *tables = text.split("[[releases]]")
    kept = [t for t in tables if any(f'name = "{name}"' in t for name in releases)]
    kept = [t.split("[[attacks]]")[0] for t in kept]
    body = head + audit + "".join("[[releases]]" + t for t in kept)
    (project / "pipeline.toml").write_text(body + "\n".join(f"[[attacks]]\n{attack}\n" for attack in attacks))


def report_of(project):
    return json.loads((project / "runs" / "tiny" / "report.json").read_text())


def test_a_misbehaving_attack_fails_by_name_and_the_rest_of_the_panel_is_judged(
    project, hostile, program, tmp_path
):
    modes = ["nan", "short", "unknown", "above", "writes", "hangs", "dies", "constant"]
    attacks = ['use = "nearest-patient"', *(f'use = "test-hostile"\nmode = "{mode}"' for mode in modes)]
    with_attacks(project, attacks, audit="[audit]\nattack_minutes = 0.4\n\n")
    path = os.pathsep.join([str(hostile), os.environ.get("PYTHONPATH", "")])
    outcome = program(tmp_path, "run", PYTHONPATH=path)
    assert outcome.returncode in (1, 3), outcome.stdout + outcome.stderr
    report = report_of(project)
    (release,) = report["releases"]
    judged = {attack["attack"]: attack for attack in release["attacks"]}
    assert "nearest-patient" in judged
    assert "test-hostile (mode = constant)" in judged
    reasons = {entry["attack"]: entry["reason"] for entry in report["not_run"]}
    for mode, part in {
        "nan": "finite", "short": "shape", "unknown": "unknown", "above": "access", "writes": "read-only",
        "hangs": "stopped after", "dies": "exit code 9",
    }.items():  # fmt: skip
        assert part in reasons[f"test-hostile (mode = {mode})"], reasons
    assert "test-hostile 1.0" in outcome.stdout


def test_shadows_are_trained_once_for_all_attacks_and_never_touch_the_ledger(project, privagams, tmp_path):
    attacks = ['use = "lira"\nshadows = 4', 'use = "rmia"\nshadows = 4']
    with_attacks(project, attacks, releases=("one-shot",))
    outcome = privagams("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    artifacts = [p.name for p in (project / "runs" / "tiny" / "artifacts").iterdir()]
    assert sum(name.startswith("shadow-") for name in artifacts) == 4
    shown = privagams("ledger", "--json")
    # One noisy sum of the release, none of its shadows.
    assert shown.stdout.count("one-shot") >= 1
    (ledger,) = (tmp_path / "home").rglob("ledger.jsonl")
    assert ledger.read_text().count('"kind":"reserve"') == 1
    for release in report_of(project)["releases"]:
        assert {attack["attack"] for attack in release["attacks"]} == {"lira", "rmia"}


def test_more_shadows_than_the_budget_of_hours_are_skipped_with_the_reason(project, privagams):
    with_attacks(
        project,
        ['use = "lira"\nshadows = 4'],
        releases=("one-shot",),
        audit="[audit]\nshadow_budget = 0.0\n\n",
    )
    outcome = privagams("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (entry,) = report_of(project)["not_run"]
    assert entry["attack"] == "lira"
    assert "shadow_budget" in entry["reason"]


def test_an_image_that_was_saved_again_under_another_patient_is_refused(project, privagams):
    from PIL import Image

    Image.open(project / "CASE000-0.png").save(project / "CASE001-0.png", compress_level=1)
    (project / "CASE001-0.png").write_bytes((project / "CASE001-0.png").read_bytes() + b"\0")
    # Only tiles that were kept are compared, so that every one must be: which of them are is drawn by chance.
    text = (project / "pipeline.toml").read_text()
    (project / "pipeline.toml").write_text(text.replace("per_patient = 8", "per_patient = 18"))
    outcome = privagams("run")
    assert outcome.returncode == 2, outcome.stdout + outcome.stderr
    assert "same pixels under different patients" in outcome.stdout + outcome.stderr


def test_a_report_of_an_unfinished_run_is_not_the_last_word(finished, privagams):
    runs = finished / "runs" / "tiny"
    (attack,) = (
        p for p in (runs / "artifacts").iterdir() if _name_of(p) == "attack one-shot with nearest-patient"
    )
    shutil.rmtree(attack)
    assert privagams("report").returncode == 0
    assert "it was not run" in (runs / "report.json").read_text()
    refused = privagams("approve", "one-shot", "--by", "A")
    assert refused.returncode == 1
    assert "not done" in refused.stderr
    # The attack is made up for, and with it the report: nothing may rest on the one without it.
    assert privagams("run").returncode == 0
    assert "it was not run" not in (runs / "report.json").read_text()
    assert privagams("approve", "one-shot", "--by", "A").returncode == 0


def test_what_no_attack_has_tested_can_not_be_approved(finished, privagams):
    state = finished / "runs" / "tiny" / "report.key"
    state.write_text(json.dumps({**json.loads(state.read_text()), "tested": {"one-shot": 0}}))
    refused = privagams("approve", "one-shot", "--by", "A")
    assert refused.returncode == 1
    assert "nobody has tested it" in refused.stderr


def test_a_training_that_the_gate_refused_leaves_under_no_other_number_of_images(finished, privagams):
    from privagams.decisions import Decision, add_decision

    runs = finished / "runs" / "tiny"
    (fit,) = (p.name for p in (runs / "artifacts").iterdir() if _name_of(p) == "fit one-shot")
    add_decision(runs, Decision("one-shot", fit, "refused", "the gate", "today", "0" * 64))
    assert privagams("run", "--set", "releases.2.images=13").returncode == 0
    refused = privagams("approve", "one-shot", "--by", "A", "--set", "releases.2.images=13")
    assert refused.returncode == 4, refused.stderr
    assert "the gate refused it" in refused.stderr


def _name_of(artifact):
    return json.loads((artifact / "manifest.json").read_text())["name"]
