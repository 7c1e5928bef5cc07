"""Two processes that train together, by gloo on this machine; each scene is played once."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privagams.training.ranks import Ranks

LIMIT = 120
"""Seconds after which processes count as hanging."""


def run_two(arguments):
    """Run two Python processes; returns what they printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, *own],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for own in arguments
    ]
    until = time.monotonic() + LIMIT
    try:
        return [p.communicate(timeout=max(1.0, until - time.monotonic()))[0] for p in processes]
    finally:
        for p in processes:
            p.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What rank_process.py found in the process that leads and in the one that helps it."""
    script, folder, port = (
        Path(__file__).with_name("rank_process.py"),
        tmp_path_factory.mktemp("ranks"),
        free_port(),
    )
    files = [folder / f"{rank}.json" for rank in range(2)]
    told = run_two([[script, str(rank), port, file] for rank, file in enumerate(files)])
    assert all(file.exists() for file in files), "\n".join(told)
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize("drawn", ["everybody", "three", "one", "nobody"])
def test_two_processes_sum_what_one_sums(found, drawn):
    gap, size = found[0][drawn]
    assert gap <= 1e-6 * size
    assert (size > 0) == (drawn != "nobody")


def test_an_empty_share_adds_zeros(found):
    leader, helper = found
    assert helper["shares"][1] == [[]], "the one patient is the leader's"
    gap, size = leader["one"]
    assert gap <= 1e-6 * size


def test_every_patient_drawn_is_in_exactly_one_share(found):
    leader, helper = found
    assert len({tuple(step) for step in leader["drawn"]}) > 1
    shares = zip(leader["shares"], helper["shares"][-1], strict=True)
    assert [sorted(a + b) for a, b in shares] == leader["drawn"]
    assert any(helper["shares"][-1])


def test_noise_is_added_once(found):
    assert found[0]["std"] == pytest.approx(0.2, rel=0.05)


def test_a_training_by_two_processes_equals_one_by_one(found):
    leader, helper = found
    assert helper["whole"] == 4
    assert leader["whole"] | {"weights": 0} == {"error": "", "reserved": 2, "closed": 2, "weights": 0}
    assert leader["whole"]["weights"] == pytest.approx(leader["alone"]["weights"], rel=1e-5, abs=1e-6)


def test_processes_that_see_other_members_are_refused_before_anything_is_reserved(found):
    leader, helper = found
    assert "the same members" in helper["refused"]
    assert "another process ended" in leader["refused"]["error"]
    assert leader["refused"]["reserved"] == 0


def test_a_lost_process_is_an_error_for_the_others(found):
    """What was reserved stays reserved."""
    lost = found[0]["lost"]
    assert "another process ended" in lost["error"]
    assert (lost["reserved"], lost["closed"]) == (1, 0)


LOST = """
import datetime, os, sys
from privagams.errors import StageError
from privagams.training.ranks import Ranks

ranks = Ranks.from_environment(timeout=datetime.timedelta(seconds=20))
if ranks.rank == 0:
    with ranks.lead("a training", 0):
        os._exit(1)
try:
    for task in ranks.tasks():
        with ranks.group(task.place) as group:
            print(task.training, group.take_on([]))
except StageError as error:
    print("told:", error)
"""


def test_a_lost_leader_is_an_error_for_the_others():
    port = free_port()
    start = (
        f"import os; os.environ |= dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT='{port}', RANK="
    )
    leader, helper = run_two([["-c", f"{start}'{rank}')\n{LOST}"] for rank in range(2)])
    assert "told:" not in leader
    assert "told: training by several processes" in helper
    assert "another process ended" in helper


def test_a_process_on_its_own_has_no_ranks(monkeypatch):
    for world in (None, "", "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if world is not None:
            monkeypatch.setenv("WORLD_SIZE", world)
        assert Ranks.from_environment() is None
