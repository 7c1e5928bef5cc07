"""A release whose settings a search chose, from pipeline.toml to its report and out of the door."""

import io
import json
import re
import shutil
from datetime import UTC, datetime

import pytest
from rich.console import Console

from privagams import approval
from privagams import run as running
from privagams import search as searches
from privagams.config import load
from privagams.errors import BudgetError, ConfigError, ExitCode
from privagams.journal import Journal
from privagams.ledger.ledger import Ledger
from privagams.run import prepare
from privagams.workers import _outcome

RELEASE = """
[split]
reference = 0.25

[[releases]]
name = "searched"
images = 8
weights = true
generator = { use = "dp-merf", steps = 2, features = 8, batch = 2, width = 4 }
mechanism = { use = "noisy-sum", epsilon = 4.0, delta = 1e-3 }
[releases.search]
trials = 3
score = { use = "kid" }
images = 6
over = { learning_rate = [1e-3, 3e-3], batch = [2, 3] }

[[metrics]]
use = "kid"

[audit]
canaries = 256
"""


class Here:
    """Stages in this process, one at a time: what a test has replaced is replaced in them too."""

    def __init__(self, jobs):
        self.left = []

    @property
    def idle(self):
        return 1 - len(self.left)

    def submit(self, task):
        name, function, arguments = task
        self.left.append(lambda pipe: _outcome(pipe, name, function, arguments))

    def messages(self):
        said = []
        pipe = type("Pipe", (), {"send": lambda self, message: said.append(message)})()
        done = self.left.pop()(pipe)
        yield from [*said, done]

    def close(self):
        assert not self.left


@pytest.fixture
def searched(project):
    """One release with a search, and nothing that attacks it."""
    file = project / "pipeline.toml"
    file.write_text(file.read_text().split("[[releases]]")[0] + RELEASE)
    return project


@pytest.fixture
def run(searched, monkeypatch):
    """`run(trials)`: the whole run with as many trainings; returns its exit code and what it said."""
    monkeypatch.setattr(running, "Pool", Here)

    def of(trials, *overrides):
        monkeypatch.setattr(searches, "_draw_trials", lambda settings: trials)
        pipeline, registry = load(searched / "pipeline.toml", overrides)
        prepared = prepare(pipeline, registry, searched / "runs")
        said = io.StringIO()
        with Journal(prepared.run_folder / "events.jsonl", Console(file=said, width=200)) as journal:
            code = running.run(prepared, journal, 1)
        return code, said.getvalue()

    return of


def told(folder, said):
    """All that a run's folder says, but for what chance and the machine decide in any case."""
    runs = folder / "runs" / "tiny"
    lines = [json.loads(line) for line in (runs / "events.jsonl").read_text().splitlines()]
    untimed = lines[next(i for i, line in enumerate(lines) if line.get("stage") == "fit searched") :]
    report = json.loads((runs / "report.json").read_text())
    (release,) = report["releases"]
    release["search"]["chosen"] = release["generator"] = ""
    texts = [re.sub(r"settings: .*? It trained", "It trained", note) for note in release["notes"]]
    return {
        "events": untimed,
        "seconds": [s["seconds"] for s in report["provenance"]["stages"] if s["stage"] == "fit searched"],
        "created": report["created"],
        "release": [release["search"], release["claims"], texts, release["status"]],
        "warnings": report["warnings"],
        "files": sorted(str(p.relative_to(runs)) for p in runs.rglob("*") if not re.search(r"zarr/c/", str(p))),
        "said": said[said.index("fit searched") :],
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_with_a_search_does_not_tell_how_many_trainings_there_were(
    searched, run, tmp_path, monkeypatch
):
    left = []
    asked = []

    def once(*given):  # accountants take seconds, and each run asks twice
        asked[:] = asked or [searches_plan(*given)]
        return asked[0]

    searches_plan = searches.plan_search
    monkeypatch.setattr(searches, "plan_search", once)
    for trials in (1, 5):
        code, said = run(trials)
        assert code == ExitCode.OK, said
        left.append(told(searched, said))
        report = json.loads((searched / "runs/tiny/report.json").read_text())
        page = (searched / "runs/tiny/report.html").read_text()
        # Once more, from the split on.
        runs = searched / "runs" / "tiny"
        for path in runs.iterdir():
            if path.name not in ("artifacts", "private"):
                path.unlink()
        for path in (runs / "artifacts").iterdir():
            if path.name.split("-")[0] in ("fit", "release", "audit", "measure", "embed"):
                shutil.rmtree(path)
        ledger = (tmp_path / "home/tiny/ledger.jsonl").read_text()
        for name in ("ledger.jsonl", "ledger-head.json"):
            (tmp_path / "home/tiny" / name).unlink()
    assert left[0] == left[1]
    first = left[0]
    assert all("time" not in line for line in first["events"])
    assert [line for line in first["events"] if line.get("stage") == "fit searched"] == [
        {"event": "start", "stage": "fit searched"}, {"event": "end", "stage": "fit searched"},
    ]  # fmt: skip
    assert first["seconds"] == [None]
    assert first["created"] == datetime.now(UTC).strftime("%Y-%m-%d")
    assert "after" not in first["said"]
    assert "not told, as it would tell how long a search took" in page
    # The claim is that of the whole, and no less and no more than was asked for.
    (release,) = report["releases"]
    members, reference = release["claims"]
    assert 3.95 < members["epsilon"] <= 4.0
    assert members["protects"].endswith("in the whole search for its settings")
    assert "replace_one_epsilon" not in members
    assert "replacing a patient was not computed" in page
    assert reference["epsilon"] == "inf"
    assert ledger.count('"kind":"reserve"') == 1
    assert '"kind":"close"' not in ledger
    (canaries,) = release["attacks"]
    assert canaries["attack"] == "gradient canaries"
    held = float(re.search(r"ε = ([\d.]+) is claimed", canaries["sentence"]).group(1))
    assert held == pytest.approx(release["search"]["epsilon_of_one"], rel=1e-3), (
        "of one training, not of the search"
    )


@pytest.mark.slow
def test_a_search_of_which_nothing_came_leaves_the_release_out_with_the_reason(searched, run, tmp_path):
    poisson = 'releases.0.search.distribution="poisson"'
    with pytest.raises(BudgetError, match=r"after this plan 4\.00"):
        run(0, poisson, "budget.epsilon=3.9")
    assert not (tmp_path / "home/tiny/ledger.jsonl").exists()
    code, said = run(0, poisson)
    assert code == ExitCode.STAGE_FAILED
    assert "fit searched: failed: search: nothing came out of it" in said
    assert "searched is missing from this report" in (searched / "runs/tiny/report.html").read_text()
    assert "no training was drawn" in (searched / "runs/tiny/report.html").read_text()
    code, said = run(3, poisson)
    assert code == ExitCode.REFUSED
    assert "buys no second search" in said
    assert (tmp_path / "home/tiny/ledger.jsonl").read_text().count('"kind":"reserve"') == 1


@pytest.mark.slow
def test_a_searched_release_leaves_with_the_winners_settings_and_is_charged_to_the_reference(
    searched, run, tmp_path, monkeypatch
):
    code, said = run(2, "audit.canaries=0", "metrics=[]")
    assert code == ExitCode.OK, said
    again, said = run(2, "audit.canaries=0", "metrics=[]")
    assert again == ExitCode.OK
    assert "Nothing to do" in said
    monkeypatch.setattr(approval, "_check_tested", lambda *given: None)
    pipeline, registry = load(searched / "pipeline.toml", ("audit.canaries=0", "metrics=[]"))
    prepared = prepare(pipeline, registry, searched / "runs")
    folder = approval.approve_release(
        prepared, "searched", "A. Steward", tmp_path / "outbox", unprotected=False
    )
    (fit,) = (searched / "runs/tiny/artifacts").glob("fit-*")
    assert (folder / "weights.safetensors").read_bytes() == (fit / "weights.safetensors").read_bytes()
    chosen = json.loads((fit / "facts.json").read_text())["chosen"]
    card = (folder / "MODEL_CARD.md").read_text().replace("\\_", "_")
    assert f"learning_rate = {chosen['learning_rate']}" in card
    assert f"; batch = {chosen['batch']};" in card
    assert "A search chose its settings" in card
    assert "neither must be passed on" in card
    books = Ledger(tmp_path / "home/tiny").books()
    search, free = books.blocks
    assert (search.cost["type"], free.cost["type"]) == ("search", "non-private")
    assert not books.patients[search.patients] & books.patients[free.patients]
    with pytest.raises(ConfigError, match="there already"):
        approval.approve_release(prepared, "searched", "A. Steward", tmp_path / "outbox", unprotected=False)
