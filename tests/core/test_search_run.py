"""A run with a search: when it is performed, and what journal and plan say of its length, which is nothing."""

import json
import re
import tomllib
from types import SimpleNamespace

import pytest
from rich.console import Console

from privagams import journal as journals
from privagams import run as running
from privagams.approval import _decision
from privagams.config import check
from privagams.decisions import written_at
from privagams.journal import Journal
from privagams.plan import make_plan
from privagams.plan_words import past_ends, past_seconds
from privagams.plugins import discover
from privagams.shadow_times import seconds_of_one
from privagams.workers import Message

PIPELINE = """
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
[budget]
epsilon = 10.0
delta = 1e-4
[[releases]]
name = "searched"
images = 10
generator = { use = "dp-merf", steps = 3 }
mechanism = { use = "noisy-sum", epsilon = 4, delta = 1e-4 }
[releases.search]
score = "kid"
over = { learning_rate = [1e-3, 1e-2] }
[[releases]]
name = "plain"
images = 10
generator = { use = "dp-merf", steps = 3 }
mechanism = { use = "noisy-sum", epsilon = 4, delta = 1e-4 }
[[attacks]]
use = "rmia"
shadows = 4
[[metrics]]
use = "kid"
"""


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(journals, "time", clock)
    monkeypatch.setattr(running, "time", clock)
    return clock


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    registry = discover()
    pipeline, _ = check(tomllib.loads(PIPELINE), tmp_path_factory.mktemp("p"), registry)
    return SimpleNamespace(pipeline=pipeline, plan=make_plan(pipeline, registry, "s", "s"), registry=registry)


def journal_of(folder):
    file = (folder / "said.txt").open("w")
    return Journal(folder / "events.jsonl", Console(file=file, width=200)), file


def test_the_log_does_not_tell_how_long_a_search_took(tmp_path, clock):
    left = []
    for name, seconds in (("short", 1), ("long", 100_000)):
        folder = tmp_path / name
        folder.mkdir()
        journal, file = journal_of(folder)
        with journal:
            journal.start("before")
            clock.now += 2
            journal.end("before")
            journal.start("fit", timed=False)
            clock.now += seconds
            journal.progress("fit", 1, 1)
            journal.end("fit")
            journal.start("after")
            clock.now += 7
            journal.progress("after", 1, 3)
            journal.end("after")
            assert journal.seconds == {"before": 2.0, "after": 7.0}
        file.close()
        lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        for line in lines[:2]:
            assert line.pop("time")
        left.append((lines, (folder / "said.txt").read_text()))
        assert past_seconds(folder / "events.jsonl") == {"before": 2.0}
        assert past_ends(folder / "events.jsonl") == {"before": 2.0, "fit": None, "after": None}
    assert left[0] == left[1]
    lines, said = left[0]
    # No times and no seconds; nor lines of progress, of which there would be one every few seconds.
    assert lines[2:] == [{"event": e, "stage": s} for s in ("fit", "after") for e in ("start", "end")]
    assert "before: done in 2.0 s\n" in said
    assert "fit: done\n" in said
    assert "after: done\n" in said
    assert "cut short" in said


def test_seconds_of_an_earlier_training_do_not_pass_for_those_of_a_search(tmp_path):
    log = tmp_path / "events.jsonl"
    lines = [{"event": "end", "stage": "fit", "seconds": 3.0}, {"event": "end", "stage": "fit"}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert past_seconds(log) == {}


@pytest.fixture
def performed(plan, tmp_path, clock, monkeypatch):
    """`performed(seconds, allowed)`: all stages "performed", each in `seconds(stage)`; what was on at each moment."""

    class Here:
        def __init__(self, jobs):
            self.jobs, self.tasks = jobs, []
            seen.pools.append(jobs)

        @property
        def idle(self):
            return self.jobs - len(self.tasks)

        def submit(self, task):
            self.tasks.append(task)
            seen.beside.append({name for name, _, _ in self.tasks})

        def messages(self):
            name, _, (stage, _) = self.tasks.pop(0)
            clock.now += seen.seconds(stage)
            seen.order.append(stage.name)
            seen.made.add(name)
            yield Message("done", name, {})

        def close(self):
            assert not self.tasks

    def run(seconds, allowed=1.0):
        from attrs import evolve

        seen.seconds = seconds
        audit = evolve(plan.pipeline.audit, shadow_budget=allowed)
        prepared = SimpleNamespace(
            pipeline=evolve(plan.pipeline, audit=audit), plan=plan.plan, run_folder=tmp_path, context=None,
            store=SimpleNamespace(has=lambda verb, key: f"{verb}-{key}" in seen.made),
        )  # fmt: skip
        journal, file = journal_of(tmp_path)
        with journal:
            seen.run = running._Run(prepared, journal, 2)
            seen.run._stages()
        file.close()
        return seen

    seen = SimpleNamespace(pools=[], beside=[], order=[], made=set())
    monkeypatch.setattr(running, "Pool", Here)
    return run


def test_a_search_runs_by_itself_after_all_that_does_not_rest_on_it(plan, performed):
    seen = performed(lambda stage: 1.0)
    (search,) = [stage for stage in plan.plan.stages if stage.searches]
    assert [on for on in seen.beside if search.artifact in on] == [{search.artifact}]
    assert max(len(on) for on in seen.beside) == 2
    place = seen.order.index(search.name)
    before, after = seen.order[:place], seen.order[place + 1 :]
    assert {"split by patient", "fit plain", "draw plain", "self-test"} <= set(before)
    assert {"draw searched", "shadow 4 of searched", "measure searched with kid"} <= set(after)
    assert all("searched" in name for name in after)
    assert not any("searched" in name for name in before)
    assert seen.pools == [2, 1, 2]
    assert not seen.run.failed


def test_shadows_after_a_search_are_reckoned_by_the_first_of_them(plan, performed):
    seen = performed(lambda stage: 3600.0 if stage.verb == "shadow" else 1e6 if stage.searches else 1.0, 1.0)
    names = [name for name in seen.order if name.startswith("shadow") and "searched" in name]
    assert names == ["shadow 1 of searched"]
    reasons = {text for text, _ in seen.run.failed.values()}
    assert any("3 shadow models of searched would take about 1 h 30 min" in text for text in reasons)


def test_shadows_within_what_is_allowed_are_all_trained(plan, performed):
    seen = performed(lambda stage: 1800.0 if stage.verb == "shadow" else 1e6 if stage.searches else 1.0, 1.0)
    assert sum(name.startswith("shadow") and "searched" in name for name in seen.order) == 4
    assert not seen.run.failed


def test_no_shadow_is_trained_after_a_search_where_none_is_allowed(plan, performed):
    seen = performed(lambda stage: 1.0, 0.0)
    assert not any(name.startswith("shadow") for name in seen.order)
    assert {text for text, _ in seen.run.failed.values()} == {
        "[audit] shadow_budget allows no shadow models; raise it to train them"
    }


def test_a_search_that_is_interrupted_is_said_to_be_lost(tmp_path, monkeypatch, capsys):
    from privagams.cli import cli
    from privagams.errors import ExitCode

    for searching in (True, False):

        def interrupted(prepared, journal, jobs, searching=searching):
            journal.start("fit one", timed=False)
            if not searching:
                journal.end("fit one")
            raise KeyboardInterrupt

        prepared = SimpleNamespace(run_folder=tmp_path)
        monkeypatch.setattr("privagams.cli._prepare", lambda *given, found=prepared: found)
        monkeypatch.setattr("privagams.cli.evolve", lambda thing, **_: thing)
        monkeypatch.setattr(running, "run", interrupted)
        assert cli.main(["run", "p.toml"]) == ExitCode.INTERRUPTED
        said = capsys.readouterr().err
        assert "Finished stages are kept" in said
        assert (
            "fit one was searching: what it reserved stays paid for, and the search is lost" in said
        ) == searching
        assert ("goes on from here" in said) != searching


def test_with_a_search_decisions_and_reports_bear_the_day_alone(plan):
    from attrs import evolve

    plain = evolve(plan.pipeline, releases=[r for r in plan.pipeline.releases if r.search is None])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", written_at(plan.pipeline))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", written_at(plain))
    prepared = SimpleNamespace(pipeline=plan.pipeline)
    assert _decision(prepared, "searched", "a", "refused", "the gate", "").when == written_at(plan.pipeline)


def test_how_long_shadows_take_is_not_reckoned_from_a_search(plan):
    took = {"fit searched": 5.0, "draw searched": 1.0, "fit plain": 5.0, "draw plain": 1.0}
    assert seconds_of_one(plan.plan, "searched", took) is None
    assert seconds_of_one(plan.plan, "searched", took | {"shadow 2 of searched": 4.0}) == 4.0
    assert seconds_of_one(plan.plan, "plain", took) == 6.0
