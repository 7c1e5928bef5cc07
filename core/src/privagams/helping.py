"""How a run that torchrun started in several processes is shared: the first runs it, the others help it to train."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from privagams.errors import ConfigError

if TYPE_CHECKING:
    from privagams.run import Prepared


def rank() -> int | None:
    """This process's place among those that torchrun started; None for a process on its own. Costs no import."""
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        return None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError(
            "WORLD_SIZE: expected one process, or several that torchrun started, found "
            f"{os.environ['WORLD_SIZE']!r} without torchrun; run "
            "`torchrun --nproc-per-node 2 -m privagams run FILE`, or unset WORLD_SIZE"
        )
    return int(os.environ["RANK"])


def device_of(asked: str) -> str:
    """The device that is meant by `asked`: of several processes on one machine each has its own accelerator.

    Raises `ConfigError` where there is none of that name.
    """
    if asked == "cpu":
        return asked
    import torch

    named = asked if ":" in asked or rank() is None else f"{asked}:{os.environ['LOCAL_RANK']}"
    try:
        torch.empty(1, device=named)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        raise ConfigError(
            f"--device: expected a device that torch can use, found {named!r} ({said}); leave it out to "
            "train on the processor"
        ) from error
    return named


@contextmanager
def leading() -> Iterator[Callable[[], None]]:
    """For the first of several processes: gives what to call once all that the others read is there.

    On its own, it gives a call that does nothing.
    """
    if rank() is None:
        yield lambda: None
        return
    from privagams.training.ranks import Ranks

    ranks = Ranks.from_environment()
    assert ranks is not None
    try:
        yield ranks.ready
    finally:
        ranks.close()


def help_to_train(prepare: Callable[[], Prepared], device: str) -> int:
    """Help the first process in each training that it calls to, until it ends; returns the exit code.

    A training that fails here fails there too; the next may go well.
    """
    from privagams.failures import in_words
    from privagams.stages import help_fit
    from privagams.training.ranks import Ranks

    ranks = Ranks.from_environment(device)
    assert ranks is not None
    if not ranks.await_ready():
        return 0
    prepared = prepare()
    stages = {stage.artifact: stage for stage in prepared.plan.of("fit")}
    for task in ranks.tasks():
        stage = stages[task.training]
        try:
            with ranks.group(task.place) as group:
                help_fit(stage, prepared.context, prepared.registry, task.phase, group)
            print(f"process {ranks.rank} helped: {stage.name}", file=sys.stderr)
        except Exception as error:
            print(f"process {ranks.rank}, {stage.name}: {in_words(error)[0]}", file=sys.stderr)
    return 0
