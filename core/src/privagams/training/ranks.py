"""How processes that torchrun started train together: who leads, what travels between them, what if one is lost."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import numpy as np
import torch
import torch.distributed as dist
from attrs import frozen
from torch.distributed.distributed_c10d import PrefixStore, Store

from privagams.errors import StageError

TIMEOUT = timedelta(minutes=30)
"""How long one process waits for another within a phase; a process that ends is noticed at once."""
_STEP, _END = 1, 0
_POLL = 0.2


@frozen
class Task:
    """One phase of one training, in which the other processes help the first."""

    place: int
    """Tasks are numbered from 1 on."""
    training: str
    """Which training; the processes that help know it by this name."""
    phase: int


class Ranks:
    """The processes of one `torchrun`: the first leads, the others help it where members' gradients are computed.

    Only the first holds the ledger, the optimiser, the noise, the checkpoints and the terminal. Each step it draws the
    patients, and tells all which they are and the parameters; each computes and clips the gradients of its share, and
    the first adds up the sums, adds the noise, once, and takes the step. Nobody else keeps a state that could drift.

    Sums without noise travel between these processes, which all read the members' images: they are one steward's, on
    one machine or a private network. Such sums are never written, logged or told to anybody else.
    """

    def __init__(
        self, rank: int, world: int, store: Store, device: str, timeout: timedelta, holds: bool
    ) -> None:
        self.rank, self.world = rank, world
        self._store, self._device, self._timeout, self._holds = store, device, timeout, holds

    @classmethod
    def from_environment(cls, device: str = "cpu", timeout: timedelta = TIMEOUT) -> Ranks | None:
        """The place that torchrun gave this process; None for a process on its own."""
        world = int(os.environ.get("WORLD_SIZE") or 1)
        if world == 1:
            return None
        rank = int(os.environ["RANK"])
        # torchrun itself holds the store; a stage's process is a client like any other.
        holds = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        with _lasting("the store"):
            store = dist.TCPStore(  # type: ignore[attr-defined]
                os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=holds,
                timeout=timeout, wait_for_workers=False,
            )  # fmt: skip
        # torchrun's store outlives a restart of its processes; what was told to earlier ones is no longer meant.
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return cls(rank, world, PrefixStore(f"privagams/{start}", store), device, timeout, holds)

    @contextmanager
    def lead(self, training: str, phase: int) -> Iterator[Group]:
        """Call the other processes to one phase, and let them go when it ends."""
        with _lasting("the store"):
            place = self._store.add("tasks", 1)
            self._store.set(f"task/{place}", json.dumps([training, phase]))
        with self.group(place) as group:
            yield group
            group.end()

    def ready(self) -> None:
        """Tell the others that all that they read is there."""
        self._store.set("ready", "yes")

    def close(self) -> None:
        """Tell the others that no more tasks come; a store that ends with this process waits for them to hear it."""
        if not self._store.check(["ready"]):
            self._store.set("ready", "never")
        self._store.set(f"task/{self._store.add('tasks', 1)}", json.dumps([]))
        until = time.monotonic() + self._timeout.total_seconds()
        while self._holds and self._store.add("left", 0) < self.world - 1 and time.monotonic() < until:
            time.sleep(_POLL)

    def await_ready(self) -> bool:
        """Wait until there is something to help with; False where there never will be."""
        return self._await("ready") == "yes"

    def tasks(self) -> Iterator[Task]:
        """Wait for tasks, for as long as the first process lasts."""
        for place in count(1):
            told = json.loads(self._await(f"task/{place}"))
            if not told:
                self._store.add("left", 1)
                return
            yield Task(place, *told)

    @contextmanager
    def group(self, place: int) -> Iterator[Group]:
        """Meet all processes for one task."""
        backend = "nccl" if self._device.startswith("cuda") else "gloo"
        store, told = PrefixStore(f"group/{place}", self._store), sys.excepthook
        with _lasting("all processes to meet"):
            dist.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.world, timeout=self._timeout
            )
        try:
            yield Group(self.rank, self.world, self._device)
        finally:
            dist.destroy_process_group()
            sys.excepthook = told  # torch puts the rank before every line, once more for every group

    def _await(self, key: str) -> str:
        with _lasting("the store"):
            while not self._store.check([key]):
                time.sleep(_POLL)
            return bytes(self._store.get(key)).decode()


class Group:
    """All processes in one phase.

    Guarantee: every patient that the first process drew is in exactly one share
    (test_two_processes_sum_what_one_sums), whoever has none adds zeros (test_an_empty_share_adds_zeros), and a process
    that is lost ends the step for all (test_a_lost_process_is_an_error_for_the_others).
    """

    def __init__(self, rank: int, world: int, device: str) -> None:
        self._rank, self._world, self._device = rank, world, device

    def agree(self, module: torch.nn.Module, patients: int) -> None:
        """Check that all see the same network and members, and give all the first's weights."""
        state = module.state_dict()
        seen = json.dumps([patients, [[name, list(t.shape), str(t.dtype)] for name, t in state.items()]])
        mine = int.from_bytes(hashlib.sha256(seen.encode()).digest()[:7], "big")
        if self._told([mine]) != [mine]:
            raise StageError(
                "training by several processes: expected all to see the same network and the same members, found "
                "a difference; give all of them the same pipeline, packages and run folder"
            )
        with _lasting("the weights"):
            for tensor in state.values():
                first = tensor.detach().to(self._device, copy=True).contiguous()
                dist.broadcast(first, 0)
                if self._rank:
                    tensor.copy_(first)  # a state dict's tensors are the module's own memory

    def hand_out(self, chosen: np.ndarray, parameters: Sequence[torch.Tensor]) -> np.ndarray:
        """Start a step in the first process; returns its own share of the patients drawn."""
        self._told([_STEP, len(chosen)])
        return self._share(chosen, parameters)

    def take_on(self, parameters: Sequence[torch.Tensor]) -> np.ndarray | None:
        """Wait for the next step in another process; its share, or None when the phase has ended."""
        order, drawn = self._told([_END, 0])
        if order == _END:
            return None
        return self._share(np.zeros(drawn, dtype=np.int64), parameters)

    def end(self) -> None:
        self._told([_END, 0])

    def add_up(self, total: torch.Tensor) -> None:
        """Make `total` the sum over all processes in the first, and 0 in the others."""
        with _lasting("a step's sum"):
            dist.reduce(total, 0)
        if self._rank:
            total.zero_()

    def _share(self, chosen: np.ndarray, parameters: Sequence[torch.Tensor]) -> np.ndarray:
        positions = torch.from_numpy(chosen.astype(np.int64)).to(self._device)
        with torch.no_grad(), _lasting("a step's start"):
            if len(chosen):
                dist.broadcast(positions, 0)
            flat = torch.cat([p.detach().flatten() for p in parameters])
            dist.broadcast(flat, 0)
            if self._rank:
                sizes = [p.numel() for p in parameters]
                for p, part in zip(parameters, torch.split(flat, sizes), strict=True):
                    p.copy_(part.view_as(p))
        return positions.cpu().numpy()[self._rank :: self._world]

    def _told(self, numbers: list[int]) -> list[int]:
        """The first process's numbers."""
        tensor = torch.tensor(numbers, dtype=torch.int64, device=self._device)
        with _lasting("the next step"):
            dist.broadcast(tensor, 0)
        return [int(n) for n in tensor.tolist()]


@contextmanager
def _lasting(what: str) -> Iterator[None]:
    """Turn what the network says when another process is gone into words."""
    try:
        yield
    except RuntimeError as error:
        raise StageError(
            f"training by several processes: expected {what}, and another process ended or did not answer "
            f"({str(error).splitlines()[0]}); its own output says why. Run the same command again: it goes on from the "
            "last checkpoint, and what the ledger holds for the block that was lost stays spent"
        ) from error
