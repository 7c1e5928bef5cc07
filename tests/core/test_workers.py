"""Stages in child processes: a death costs one task."""

import os
import time

from privagams.errors import BudgetError
from privagams.workers import Pool


def double(value, progress):
    progress(1, 1)
    return 2 * value


def die(progress):
    os.abort()


def refuse(progress):
    raise BudgetError("not today")


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
