"""What is left of a ledger after crashes, torn writes, changed bytes and processes that meet."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import dp_accounting as dp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privagams.errors import BudgetError, LedgerError
from privagams.ledger.ledger import Ledger

DELTA = 1e-5
ONE = dp.GaussianDpEvent(2.0)


@pytest.fixture
def spent_ledger(ledger, open_account):
    account = open_account()
    for number in range(3):
        account.close(account.reserve(ONE, 1), str(number))
    account.reserve(ONE, 1)
    return ledger


def shown(ledger: Ledger) -> float | None:
    """ε that the ledger shows, or None where it refuses."""
    try:
        return ledger.total(DELTA).epsilon
    except LedgerError:
        return None


def test_torn_at_any_byte_of_its_last_records_it_loads_or_refuses(spent_ledger):
    whole = spent_ledger.path.read_bytes()
    truth = shown(spent_ledger)
    start = len(b"".join(whole.splitlines(keepends=True)[:-3]))
    for length in range(start, len(whole)):
        spent_ledger.path.write_bytes(whole[:length])
        assert shown(spent_ledger) in (None, truth), f"torn after {length} bytes"
    spent_ledger.path.write_bytes(whole[:-1])
    assert shown(spent_ledger) == truth, "only the newline is missing"


def test_a_line_that_was_never_finished_costs_nothing_and_is_noted(spent_ledger, open_account):
    truth, whole = shown(spent_ledger), spent_ledger.path.read_bytes()
    line = whole.splitlines(keepends=True)[-1]
    for length in (1, 8, 80, len(line) - 3):
        spent_ledger.path.write_bytes(whole + line[:length])
        assert shown(spent_ledger) == truth
    open_account(fit="next").reserve(ONE, 1)
    assert spent_ledger.books().notes[-1]["bytes"] == len(line) - 3
    assert (more := shown(spent_ledger)) > truth
    with spent_ledger.path.open("ab") as file:
        file.write(b'{"hash":"' + b"0" * 9000)  # longer than what comes in its place
    open_account(fit="next").reserve(ONE, 1)
    assert shown(spent_ledger) > more


def test_after_a_lost_newline_the_next_record_has_its_own_line(spent_ledger, open_account):
    spent_ledger.path.write_bytes(spent_ledger.path.read_bytes()[:-1])
    open_account().reserve(ONE, 1)
    assert len(spent_ledger.spent()) == 5


def test_no_changed_byte_makes_the_ledger_show_less(spent_ledger):
    whole = spent_ledger.path.read_bytes()
    truth = shown(spent_ledger)
    dice = random.Random(5)
    positions = [*dice.sample(range(len(whole)), 250), *range(len(whole) - 40, len(whole))]
    for position in positions:
        changed = bytearray(whole)
        changed[position] ^= 1 << dice.randrange(8)
        spent_ledger.path.write_bytes(changed)
        assert shown(spent_ledger) in (None, truth), f"byte {position} changed"


def test_no_changed_byte_is_accepted_even_where_no_head_is_known(spent_ledger, tmp_path):
    shutil.rmtree(tmp_path / "runs")
    (spent_ledger.folder / "ledger-head.json").unlink()
    test_no_changed_byte_makes_the_ledger_show_less(spent_ledger)


def test_no_record_can_be_taken_out_moved_or_doubled(spent_ledger):
    lines = spent_ledger.path.read_bytes().splitlines(keepends=True)
    for position in range(len(lines)):
        for changed in (
            lines[:position] + lines[position + 1 :],
            lines[: position + 1] + lines[position:],
            [*lines[:position], *reversed(lines[position:])] if position < len(lines) - 1 else lines[:-1],
        ):
            spent_ledger.path.write_bytes(b"".join(changed))
            assert shown(spent_ledger) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["reserve", "close", "restart", "torn", "lost write"]),
            st.sampled_from([1.0, 2.0, 5.0]),
            st.sampled_from(["a", "b"]),
        ),
        max_size=10,
    )
)
def test_whatever_happens_what_was_spent_never_falls(actions, tmp_path_factory, patients, quick_prices):
    base = tmp_path_factory.mktemp("sequence")
    ledger = Ledger(base / "set", quick_prices)
    acted_upon, before, open_blocks = 0, 0.0, []
    for action, noise, fit in actions:
        account = ledger.account(
            run="r", release="d", fit=fit, patients=patients, budget=None, run_folder=base / "runs" / fit
        )
        if action == "reserve":
            open_blocks.append((account, account.reserve(dp.GaussianDpEvent(noise), 1)))
            acted_upon += 1
        elif action == "close" and open_blocks:
            account, block = open_blocks.pop()
            account.close(block, "x")
        elif action == "restart":
            ledger = Ledger(base / "set", quick_prices)
        elif action == "torn" and ledger.path.exists():
            with ledger.path.open("ab") as file:
                file.write(b'{"hash":"00')
        elif action == "lost write" and ledger.path.exists():
            line = ledger.path.read_bytes().splitlines()[-1]
            with ledger.path.open("ab") as file:
                file.write(b'{"hash":"' + line[9:40])
        now = ledger.total(DELTA).epsilon
        assert now >= before
        assert len(ledger.spent()) == acted_upon
        before = now


NURSERY = """
# Forks a child for each NAME BUDGET it reads; the children spend until the budget refuses. Waits for all.
import os, sys
from pathlib import Path
import dp_accounting as dp
from privagams.errors import BudgetError
from privagams.ledger.ledger import Ledger
from privagams.pipeline import BudgetSettings
from privagams.ledger.prices import Prices

MOST = 300  # so that no child lives for ever where the budget does not stop it
folder, runs = Path(sys.argv[1]), Path(sys.argv[2])

def spend(name, budget):
    count_each = Prices(lambda spent, delta: (float(sum(spent.values())), "count"))
    account = Ledger(folder, count_each).account(
        run=name, release=name, fit=name, patients=[f"{n:016x}" for n in range(5)],
        budget=BudgetSettings(budget, 1e-5), run_folder=runs / name,
    )
    with open(runs / f"{name}.count", "ab", buffering=0) as counter:
        for _ in range(MOST):
            try:
                block = account.reserve(dp.GaussianDpEvent(2.0), 1)
            except BudgetError:
                return
            counter.write(b"x")  # a noisy step runs
            account.close(block, "c")

for line in sys.stdin:
    name, budget = line.split()
    child = os.fork()
    if child == 0:
        spend(name, float(budget))
        os._exit(0)
    print(child, flush=True)
statuses = []
try:
    while True:
        statuses.append(os.wait()[1])
except ChildProcessError:
    print(*statuses, flush=True)
"""


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def nursery(ledger, runs):
    command = [sys.executable, "-c", NURSERY, str(ledger.folder), str(runs)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield process


def start(nursery: subprocess.Popen, name: str, budget: float) -> int:
    nursery.stdin.write(f"{name} {budget}\n")
    return int(nursery.stdout.readline())


def steps_run(runs) -> int:
    return sum(path.stat().st_size for path in runs.glob("*.count"))


@pytest.mark.slow
def test_processes_that_reserve_at_once_stay_within_the_budget(ledger, nursery, runs):
    for number in range(8):
        start(nursery, f"run-{number}", 30)
    nursery.stdin.close()
    assert nursery.stdout.readline().split() == ["0"] * 8
    assert len(ledger.spent()) == steps_run(runs) == 30


@pytest.mark.slow
def test_a_killed_child_never_ran_more_than_the_ledger_shows(ledger, nursery, runs):
    dice = random.Random()
    for kill in range(20):
        child = start(nursery, f"run-{kill}", 1e6)
        time.sleep(dice.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        while is_alive(child):
            time.sleep(0.01)
        # At most the block that was being reserved when the kill came is counted and was not run.
        assert steps_run(runs) <= len(ledger.spent()) <= steps_run(runs) + kill + 1
    assert steps_run(runs) > 0


def is_alive(child: int) -> bool:
    """Whether a killed child is still on its way out; a dead one that nobody waited for is a zombie."""
    with open(f"/proc/{child}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_lock_that_a_dead_process_held_holds_nobody_up(ledger, open_account):
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, os, pathlib; from privagams.ledger.chain import locked\n"
            "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)",
            str(ledger.folder),
        ]
    )
    assert child.wait() == -signal.SIGKILL
    start_time = time.monotonic()
    open_account().reserve(ONE, 1)
    assert time.monotonic() - start_time < 30


def test_a_read_only_ledger_is_refused_in_words(ledger, open_account, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    open_account().reserve(ONE, 1)
    monkeypatch.setattr("privagams.ledger.chain.os.ftruncate", refused)
    with pytest.raises(Exception, match="could not be written") as caught:
        open_account().reserve(ONE, 1)
    assert not isinstance(caught.value, BudgetError | OSError)


def test_no_descriptor_is_left_open(open_account):
    account = open_account()
    account.reserve(ONE, 1)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        account.reserve(ONE, 1)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before
