"""Stages in child processes: a death costs one task."""

import os
import time

import pytest

from privagams.errors import BudgetError
from privagams.workers import Pool


def double(value, progress):
    progress(1, 1)
    return 2 * value


def die(progress):
    os.abort()


def refuse(progress):
    raise BudgetError("not today")


def waits(progress):
    return os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"], os.environ["MALLOC_TRIM_THRESHOLD_"]


def collect(pool, count):
    found = {}
    limit = time.monotonic() + 60
    while len(found) < count and time.monotonic() < limit:
        found |= {m.task: m for m in pool.messages() if m.kind != "progress"}
    return found


def test_a_task_that_aborts_its_process_fails_alone_and_the_pool_goes_on():
    pool = Pool(1)
    try:
        pool.submit(("a", die, ()))
        assert "SIGABRT" in collect(pool, 1)["a"].payload[0]
        pool.submit(("b", double, (4,)))
        assert collect(pool, 1)["b"].payload == 8
    finally:
        pool.close()


def test_an_error_keeps_its_exit_code():
    pool = Pool(1)
    try:
        pool.submit(("a", refuse, ()))
        assert collect(pool, 1)["a"].payload == ("not today", 4)
    finally:
        pool.close()


@pytest.mark.parametrize(("stated", "threads"), [("1", "1"), ("4096", None), ("a", None), ("0", None)])
def test_a_worker_has_its_share_of_the_cores_or_less_and_the_users_word_holds(monkeypatch, stated, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    pool = Pool(1)
    try:
        pool.submit(("a", waits, ()))
        found = collect(pool, 1)["a"].payload
    finally:
        pool.close()
    assert found == (threads or str(os.cpu_count()), "PASSIVE", "4096")
    assert os.environ["OMP_NUM_THREADS"] == stated
    assert "OMP_WAIT_POLICY" not in os.environ
