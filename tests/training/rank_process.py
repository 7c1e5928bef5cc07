"""One of two processes that train together, for test_ranks.py: rank_process.py RANK PORT OUT."""

import importlib.util
import json
import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import torch

from privagams.errors import StageError
from privagams.ledger import accounting
from privagams.roles import Space
from privagams.training.feed import Feed
from privagams.training.following import follow
from privagams.training.phase_run import PrivateSteps
from privagams.training.ranks import Ranks
from privagams.training.train import fit
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.settings import DpSgdSettings

spec = importlib.util.spec_from_file_location("kit", Path(__file__).with_name("conftest.py"))
kit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)

SPACE, PATIENTS = Space(8, 1), 7
RECORDS = kit.make_records((1,) * PATIENTS)


class Sum(GaussianSum):
    """Draws whom the scene says, or tosses coins."""

    chosen = None

    def sample(self, patients):
        return super().sample(patients) if self.chosen is None else np.array(self.chosen, dtype=np.int64)


class Mechanism(DpSgd):
    def __init__(self, noise, chosen=None, rate=0.5):
        super().__init__(DpSgdSettings(8.0, 1e-4, patients_per_step=PATIENTS, noise_draws=1))
        self.noise, self.chosen, self.rate = noise, chosen, rate

    def noisy_sum(self, like, noise_multiplier, patients):
        door = Sum(like, 0.1, self.noise, self.rate)
        door.chosen = self.chosen
        return door


class Model(kit.TinyModel):
    """Draws nothing at random, so that one process and two see the same."""

    def draw(self, n, rng):
        return {"eps": torch.zeros(n, 1, 8, 8), "t": torch.full((n, 1, 1, 1), 0.3)}


def model(seed):
    return Model(SPACE, seed, steps=4)


def steps(mechanism, group=None, seed=1):
    phase = model(seed).phases()[0]
    names = [n for n, _ in phase.module.named_parameters()]
    door = mechanism.noisy_sum(list(phase.module.parameters()), 0.0, PATIENTS)
    found = PrivateSteps(phase, names, Feed(RECORDS, ()), mechanism, door, PATIENTS, "cpu", group)
    found._normaliser = 1.0
    return found


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


SHARES = {"everybody": list(range(PATIENTS)), "one": [3], "nobody": [], "three": [1, 2, 6]}


def lead_sums(ranks, found):
    """Sums by two processes and by one, with the noise off; then noise alone; then whom the coins chose."""
    for name, chosen in SHARES.items():
        with ranks.lead("sums", 0) as group:
            together = flat(steps(Mechanism(0.0, chosen), group).gradients(0))
        alone = flat(steps(Mechanism(0.0, chosen)).gradients(0))
        found[name] = [float((together - alone).norm()), float(alone.norm())]
    with ranks.lead("sums", 0) as group:
        noisy = steps(Mechanism(2.0, []), group)
        found["std"] = float(torch.stack([flat(noisy.gradients(n)) for n in range(60)]).std())
    found["drawn"] = []
    with ranks.lead("sums", 0) as group:
        coins = steps(Mechanism(0.0), group)
        sample = coins._sum.sample
        coins._sum.sample = lambda n: found["drawn"].append((c := sample(n)).tolist()) or c
        found["mine"].clear()
        for n in range(12):
            found["mine"].append([])
            coins.gradients(n)


def lead_fit(ranks, folder, training):
    account, trained, told = kit.MemoryAccount(), model(1), {"error": ""}
    folder.mkdir()
    try:
        fit(
            trained, RECORDS, None, SPACE, Mechanism(0.0, list(range(PATIENTS))), PATIENTS, 1, folder, account,
            lambda done, total: None, block_steps=2,
            helpers=None if ranks is None else partial(ranks.lead, training),
        )  # fmt: skip
    except StageError as error:
        told["error"] = str(error)
    weights = flat(trained.state_dict().values()).tolist()
    return told | {"reserved": len(account.events), "closed": len(account.closed), "weights": weights}


def log_shares(found):
    """Note whose gradients this process takes."""
    taken = PrivateSteps._of

    def logged(self, patients):
        if found["mine"]:
            found["mine"][-1] += patients.tolist()
        return taken(self, patients)

    PrivateSteps._of = logged


def help_sums(group, found):
    # Another seed: what counts are the first process's weights.
    own, more = steps(Mechanism(9.0), group, seed=2), True
    found["mine"].clear()
    while more:
        found["mine"].append([])
        more = own.help()
    found["shares"].append(found["mine"][:-1])
    found["mine"] = []


def help_(ranks, found, out):
    for task in ranks.tasks():
        try:
            with ranks.group(task.place) as group:
                if task.training == "sums":
                    help_sums(group, found)
                    continue
                records = kit.make_records((1,) * (PATIENTS - 1)) if task.training == "refused" else RECORDS
                if task.training == "lost":
                    out.write_text(json.dumps(found))
                    group.agree(model(2).phases()[0].module, PATIENTS)
                    os._exit(1)
                steps_done = follow(model(2), records, SPACE, Mechanism(9.0), PATIENTS, task.phase, group)
                found[task.training] = steps_done
        except StageError as error:
            found[task.training] = str(error)


def main(rank, port, out):
    os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    accounting.calibrate = lambda event_for, epsilon, delta, spent=(): 1.0
    accounting.epsilon = lambda events, delta: (1.0, "for a test")
    found, out = {"mine": [], "shares": []}, Path(out)
    log_shares(found)
    ranks = Ranks.from_environment(timeout=timedelta(seconds=30))
    if rank == "1":
        help_(ranks, found, out)
        return
    lead_sums(ranks, found)
    found["shares"], found["mine"] = found["mine"], []
    for training in ("refused", "whole", "lost"):
        found[training] = lead_fit(ranks, out.parent / training, training)
    found["alone"] = lead_fit(None, out.parent / "alone", "")
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
