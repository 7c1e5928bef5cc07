"""What a process does that helps another train: its share of the patients of each step, nothing else."""

from __future__ import annotations

from privagams.records import Records
from privagams.roles import Mechanism, Phase, Space, Summarised, Trained
from privagams.training.feed import Feed
from privagams.training.gradients import trained_parameters
from privagams.training.noise_plan import learning_of
from privagams.training.phase_run import PrivateSteps
from privagams.training.ranks import Group


def follow(
    model: Trained | Summarised,
    members: Records,
    space: Space,
    mechanism: Mechanism,
    public_patients: int,
    phase: int,
    group: Group,
    device: str = "cpu",
) -> int:
    """Help in one phase until it ends; returns the number of steps. Nothing is released or written here."""
    part = learning_of(model)[phase]
    assert isinstance(part, Phase)
    part.module.to(device)
    parameters = trained_parameters(part.module, part.trains)
    # Its noise is never asked for: the process that leads releases the sum of all.
    door = mechanism.noisy_sum(list(parameters.values()), 1.0, public_patients)
    feed = Feed(members, space.classes, device)
    steps = PrivateSteps(part, list(parameters), feed, mechanism, door, public_patients, device, group)
    done = 0
    while steps.help():
        done += 1
    return done
