"""How work on untrusted files runs in child processes that may abort, hang, or eat memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from attrs import define, field, frozen, validators

from privagams.errors import StageError

Note = Callable[[int], None]
"""Called by work with the index of the file that it touches now; also the sign that it still lives."""
Work = Callable[[Any, Note], Any]
START_SECONDS = 300.0
"""A child may take this long to import its libraries."""


@frozen
class Limits:
    """What one child may use before it is ended."""

    memory_mb: int = field(
        default=4096,
        validator=validators.ge(256),
        metadata={"doc": "address space of a reading process beyond its libraries, MiB"},
    )
    seconds: float = field(
        default=120.0,
        validator=validators.gt(0),
        metadata={"doc": "longest time a file may take over one block of pixels, s"},
    )


@define(eq=False)
class _Child:
    process: Any
    pipe: Connection
    deadline: float
    ready: bool = False
    job: Any = None
    file: int | None = None


class Crew:
    """Child processes that share a list of jobs.

    A job whose child dies, or is silent for too long, goes to `blame(job, file, reason)`, which returns what
    is left of the job, or None. Only that file is lost. Children are spawned, never forked: the parent has
    threads. They end with the parent, however it ends.

    Guarantee: what happens to the reading process happens to one file only.
    `test_a_file_that_aborts_the_process_costs_itself_only` fails without it.
    """

    def __init__(self, make_work: Callable[[], Work], workers: int, limits: Limits) -> None:
        """`make_work` is pickled and called once in each child."""
        self._context = multiprocessing.get_context("spawn")
        self._make_work = make_work
        self._workers = workers
        self._limits = limits
        self._children: list[_Child] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in list(self._children):
            self._dismiss(child)

    def run(
        self,
        jobs: Sequence[Any],
        blame: Callable[[Any, int, str], Any | None],
        done: Callable[[Any, Any], None],
    ) -> None:
        """Run all jobs; `done(job, result)` is called in this process as each ends, in no fixed order."""
        waiting = deque(jobs)
        while waiting or any(child.job is not None for child in self._children):
            self._hire(len(waiting))
            for child in self._children:
                if child.ready and child.job is None and waiting:
                    self._give(child, waiting.popleft())
            self._listen(waiting, blame, done)

    def _hire(self, waiting: int) -> None:
        idle = sum(child.job is None for child in self._children)
        for _ in range(min(self._workers - len(self._children), waiting - idle)):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_live, args=(theirs, self._make_work, self._limits), daemon=True
            )
            process.start()
            theirs.close()
            self._children.append(_Child(process, ours, time.monotonic() + START_SECONDS))

    def _give(self, child: _Child, job: Any) -> None:
        child.job, child.file = job, None
        child.deadline = time.monotonic() + self._limits.seconds
        with contextlib.suppress(OSError):  # it died just now: that is dealt with when listening
            child.pipe.send(job)

    def _listen(self, waiting: deque[Any], blame: Callable[..., Any], done: Callable[..., None]) -> None:
        busy = [child for child in self._children if child.job is not None or not child.ready]
        rest = max(0.0, min(child.deadline for child in busy) - time.monotonic())
        heard = set(wait([child.pipe for child in busy], timeout=rest))
        for child in busy:
            if child.pipe in heard:
                self._hear(child, waiting, blame, done)
            elif time.monotonic() > child.deadline:
                seconds = self._limits.seconds if child.ready else START_SECONDS
                self._lose(child, f"no sign of life for {seconds:g} s; stopped", waiting, blame)

    def _hear(
        self, child: _Child, waiting: deque[Any], blame: Callable[..., Any], done: Callable[..., None]
    ) -> None:
        try:
            word, value = child.pipe.recv()
        except (EOFError, OSError):
            child.process.join()
            self._lose(
                child, f"the reading process was ended by {_cause(child.process.exitcode)}", waiting, blame
            )
            return
        child.deadline = time.monotonic() + self._limits.seconds
        if word == "error":
            raise StageError(value)
        if word == "file":
            child.file = value
        elif word == "ready":
            child.ready = True
        else:
            job, child.job = child.job, None
            done(job, value)

    def _lose(self, child: _Child, reason: str, waiting: deque[Any], blame: Callable[..., Any]) -> None:
        self._dismiss(child)
        if child.file is None:
            raise StageError(f"reading: {reason} before it opened a file; is the reader installed soundly?")
        left = blame(child.job, child.file, reason)
        if left is not None:
            waiting.appendleft(left)

    def _dismiss(self, child: _Child) -> None:
        self._children.remove(child)
        child.process.kill()
        child.process.join()
        child.pipe.close()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def _live(pipe: Connection, make_work: Callable[[], Work], limits: Limits) -> None:
    """The child's life: do one job after the other until the parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the whole group; the parent ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _silence()
    try:
        work = make_work()
        _limit_memory(limits.memory_mb)
        pipe.send(("ready", None))
        while True:
            pipe.send(("done", work(pipe.recv(), lambda file: pipe.send(("file", file)))))
    except EOFError:
        return
    except StageError as error:
        pipe.send(("error", str(error)))
    except Exception:
        pipe.send(("error", f"a reading process failed:\n{traceback.format_exc()}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _silence() -> None:
    """Send what libraries print to nowhere: their warnings may quote file names, metadata and barcodes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _limit_memory(megabytes: int) -> None:
    """Make a too large allocation fail instead of taking the machine along."""
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as status:
            mapped = int(status.read().split()[0]) * resource.getpagesize()
    except OSError:
        mapped = 0  # not Linux: the limit then includes the libraries
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + megabytes * 2**20
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (ValueError, OSError):
        return  # macOS has no such limit; the time limit still holds
