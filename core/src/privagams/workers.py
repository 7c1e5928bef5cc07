"""Stages in child processes: a crash or an endless loop of one stage costs that stage, not the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from attrs import define, frozen

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_USUAL = {
    # Threads that wait for others by spinning made a fit 12 times slower where another program held one of two cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Sums of long vectors take 0.6 of the time where glibc keeps freed memory, up to 1 GiB, in place of asking anew.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""What a worker's environment holds unless the user says otherwise."""


@frozen
class Message:
    """What a worker tells the parent about a task."""

    kind: str
    """"progress", "done" or "failed"."""
    task: str
    payload: Any = None


Task = tuple[str, Callable[..., Any], tuple[Any, ...]]
"""A name, a function at module level and its arguments; the function is called with `progress` besides."""


@define
class _Worker:
    process: Any
    pipe: Connection
    task: str | None = None


class Pool:
    """`jobs` child processes that take one task at a time and are replaced when they die."""

    def __init__(self, jobs: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._jobs = jobs
        self._workers: list[_Worker] = [self._start() for _ in range(jobs)]

    @property
    def idle(self) -> int:
        return sum(worker.task is None for worker in self._workers)

    def submit(self, task: Task) -> None:
        worker = next(worker for worker in self._workers if worker.task is None)
        worker.task = task[0]
        worker.pipe.send(task)

    def stop(self, task: str) -> None:
        """End the process that works on `task`; the task then counts as failed."""
        for worker in self._workers:
            if worker.task == task:
                worker.process.kill()  # whoever hangs may not listen to anything milder

    def messages(self) -> Iterator[Message]:
        """Wait for at least one message of a busy worker, and yield what has come in."""
        busy = [worker for worker in self._workers if worker.task is not None]
        ready = wait(
            [item for worker in busy for item in (worker.pipe, worker.process.sentinel)], timeout=1.0
        )
        for worker in busy:
            if worker.pipe in ready or worker.process.sentinel in ready:
                yield self._receive(worker)

    def close(self) -> None:
        """End all workers; what a busy one was writing stays a partial folder."""
        for worker in self._workers:
            worker.pipe.close()  # an idle worker leaves by itself when its pipe ends
            if worker.task is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()

    def _receive(self, worker: _Worker) -> Message:
        assert worker.task is not None
        try:
            message: Message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            message = Message("failed", worker.task, (_death(worker.process.exitcode), 1))
            self._workers[self._workers.index(worker)] = self._start()
            return message
        if message.kind != "progress":
            worker.task = None
        return message

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, os.getpid()), daemon=False)
        # Numerical libraries read these once, when they are imported in the child.
        before = {name: os.environ.get(name) for name in (*_THREADS, *_USUAL)}
        os.environ.update({name: _threads_each(self._jobs, before[name]) for name in _THREADS})
        os.environ.update({name: value for name, value in _USUAL.items() if name not in os.environ})
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        there.close()
        return _Worker(process, here)


def _threads_each(jobs: int, stated: str | None) -> str:
    """An even share of the cores, or less where the user's environment states less."""
    fair = max(1, (os.cpu_count() or 1) // jobs)
    return str(min(fair, int(stated)) if stated and stated.isdecimal() and int(stated) else fair)


def _serve(pipe: Connection, parent: int) -> None:
    """Run tasks until the parent is gone. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    while True:
        try:
            name, function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_outcome(pipe, name, function, arguments))
        except BrokenPipeError:  # the parent is gone, and nobody is left to tell
            return


def _outcome(pipe: Connection, name: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Message:
    last = 0.0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last > 0.2 or done >= total or note:
            last = time.monotonic()
            pipe.send(Message("progress", name, (done, total, note)))

    try:
        return Message("done", name, function(*arguments, progress=progress))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit included; the parent reports it
        from privagams.failures import in_words

        return Message("failed", name, in_words(error))


def _leave_with(parent: int) -> None:
    """End this process when the parent has died (kill -9), so that nothing goes on spending unseen."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
        return f"the stage's process was ended by {name}{hint}"
    return f"the stage's process ended with exit code {code}"
