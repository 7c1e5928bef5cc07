"""The command line. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from privagams.errors import ExitCode, PrivagamsError

if TYPE_CHECKING:
    from privagams.run import Prepared

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="pipeline.toml")
_SET = click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override one setting.")
_RUNS = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of runs [default: runs/ beside FILE].",
)


class _Group(click.Group):
    """Prints errors meant for people as one text and turns them into documented exit codes."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False}) or 0
        except PrivagamsError as error:
            notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
            click.echo(f"{error}{notes}", err=True)
            return int(error.exit_code)
        except click.exceptions.Exit as error:
            return error.exit_code
        except (click.Abort, KeyboardInterrupt) as error:
            # click puts an Abort in place of what was raised.
            lost = [note for one in (error, error.__cause__) for note in getattr(one, "__notes__", ())]
            kept = ["Finished stages are kept; the same command goes on from here."]
            if lost:
                kept = ["Finished stages are kept."]
            click.echo(" ".join(["Interrupted.", *lost, *kept]), err=True)
            return int(ExitCode.INTERRUPTED)
        except click.ClickException as error:
            error.show()
            return int(ExitCode.CONFIGURATION)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="privagams")
def cli() -> None:
    """Train generative models of medical images privately, release, attack and judge them, per patient.

    Exit codes: 0 done, 1 a stage failed, 2 configuration, 3 plugin, 4 refused by budget or privacy gate,
    5 done but some files could not be read, 130 interrupted.

    Shell completion: eval "$(_PRIVAGAMS_COMPLETE=bash_source privagams)" (or zsh_source, fish_source).
    """


@cli.command()
@_FILE
@_SET
@_RUNS
@click.option("--jobs", type=click.IntRange(1), help="Stages at once [default: the cores, at most 2].")
@click.option("--device", default="cpu", help="Where models train: cpu, cuda, cuda:1 …", show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def run(
    file: Path, overrides: tuple[str, ...], runs: Path | None, jobs: int | None, device: str, dry_run: bool
) -> int:
    """Run FILE to its report; what is done already is not done again.

    Several processes train together when torchrun starts them: torchrun --nproc-per-node 2 -m privagams run FILE
    """
    from privagams import helping
    from privagams.run import default_jobs, run_with_journal

    place, device = helping.rank(), helping.device_of(device)
    if place:
        return helping.help_to_train(lambda: evolve(_prepare(file, overrides, runs), device=device), device)
    with helping.leading() as ready:
        prepared = evolve(_prepare(file, overrides, runs), device=device)
        if dry_run:
            return _show_plan(prepared)
        ready()
        # Several processes that train together take one training at a time.
        return int(run_with_journal(prepared, (jobs or default_jobs()) if place is None else 1))


@cli.command()
@_FILE
@_SET
@_RUNS
def plan(file: Path, overrides: tuple[str, ...], runs: Path | None) -> int:
    """Show what FILE would do: stages, what is done already, how long, and the budget before and after."""
    return _show_plan(_prepare(file, overrides, runs))


@cli.command()
@_FILE
@_SET
def validate(file: Path, overrides: tuple[str, ...]) -> int:
    """Check FILE and say everything that is wrong with it; reads no image."""
    from privagams.beforehand import refuse_what_cannot_be_made
    from privagams.config import load

    pipeline, registry = load(file, overrides)
    refuse_what_cannot_be_made(pipeline, registry)
    for failure in registry.failures:
        click.echo(
            f"note: {failure.distribution} {failure.version} could not be loaded: {failure.reason}", err=True
        )
    releases = ", ".join(release.name for release in pipeline.releases)
    click.echo(f"{file}: valid. Data set {pipeline.source.dataset}; releases: {releases}.")
    return 0


@cli.command()
@click.argument("action", type=click.Choice(["list", "doctor"]), default="list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plugins(action: str, as_json: bool) -> int:
    """List installed components, or say what is wrong with plugins (doctor)."""
    from privagams.listing import doctor, list_plugins

    return list_plugins(as_json) if action == "list" else doctor()


@cli.command()
@click.argument("role", type=click.Choice(["attack"]))
@click.argument("name")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to put it."
)
def new(role: str, name: str, folder: Path) -> int:
    """Start a plugin package NAME (such as mylab-nearest) that offers an attack, with its test."""
    from privagams.scaffold import make_plugin

    made = make_plugin(name, folder)
    click.echo(f"{made}: a plugin with one attack. Next: pip install -e {made} && privagams check {name}")
    return 0


@cli.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting the component needs.")
@click.option("--sample", type=click.Path(path_type=Path, exists=True), help="A file for a reader to read.")
def check(name: str, settings: tuple[str, ...], sample: Path | None) -> int:
    """Check that component NAME keeps the laws of its role."""
    from privagams.config import set_value
    from privagams.testing.checking import check_component

    chosen: dict[str, Any] = {}
    for text in settings:
        set_value(chosen, text)
    return check_component(name, chosen, sample)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def selftest(as_json: bool) -> int:
    """Check attacks and judge on problems whose answers are known; takes less than a minute."""
    from privagams.selftest import show_selftest

    return show_selftest(as_json)


@cli.command()
@click.argument("dataset", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ledger(dataset: str | None, as_json: bool) -> int:
    """Say what has been spent on DATASET (all data sets by default), release by release."""
    from privagams.ledger.words import show_ledgers

    return show_ledgers(dataset, as_json)


@cli.command()
@_FILE
@_SET
@_RUNS
def report(file: Path, overrides: tuple[str, ...], runs: Path | None) -> int:
    """Write the report of FILE's run anew from finished stages."""
    from privagams.reporting import write_report
    from privagams.run import alone_in

    prepared = _prepare(file, overrides, runs)
    with alone_in(prepared.run_folder):
        _, verdict = write_report(prepared, {}, anew=True)
    click.echo(f"Report: {prepared.run_folder / 'report.html'}")
    return int(verdict)


@cli.command()
@click.argument("release")
@click.option("--pipeline", "file", type=click.Path(path_type=Path, dir_okay=False), default="pipeline.toml")
@_SET
@_RUNS
@click.option("--by", required=True, help="Who approves; recorded in the ledger and with the release.")
@click.option(
    "--outbox", type=click.Path(path_type=Path, file_okay=False), help="[default: outbox/ beside FILE]"
)
@click.option("--unprotected", is_flag=True, help="Let a yardstick go, charged as ε = inf.")
@click.option("--refuse", is_flag=True, help="Record instead that RELEASE must not leave.")
def approve(
    release: str, file: Path, overrides: tuple[str, ...], runs: Path | None, by: str, outbox: Path | None,
    unprotected: bool, refuse: bool,
) -> int:  # fmt: skip
    """Copy RELEASE to the outbox with its claim, checksums, licence and cards. Nothing else ever does."""
    from privagams.approval import approve_release, refuse_release

    prepared = _prepare(file, overrides, runs)
    if refuse:
        refuse_release(prepared, release, by)
        click.echo(f"{release}: refused by {by}; the ledger and the report say so")
        return 0
    made = approve_release(prepared, release, by, outbox or file.resolve().parent / "outbox", unprotected)
    click.echo(f"{release}: approved by {by} and copied to {made}")
    return 0


@cli.command()
@_FILE
@_SET
@_RUNS
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(file: Path, overrides: tuple[str, ...], runs: Path | None, yes: bool) -> int:
    """Remove tiles and other private artifacts of FILE's run; reports, ledger and approvals stay."""
    from privagams.approval import purge_run

    folder = _run_folder(file, overrides, runs)
    if not yes:
        click.confirm(f"Remove all private artifacts under {folder}?", abort=True)
    click.echo(f"{folder}: removed {purge_run(folder) / 1e6:.1f} MB; what was spent stays in the ledger")
    return 0


@cli.command()
def schema() -> int:
    """Print a JSON Schema of pipeline.toml, with the settings of every installed component."""
    from privagams.schema import schema_text

    click.echo(schema_text())
    return 0


@cli.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True
)
@click.option("--patients", type=click.IntRange(40), default=400, show_default=True)
@click.option("--cohort-only", is_flag=True, help="Make the images and the table, and stop.")
@click.option("--jobs", type=click.IntRange(1))
def demo(folder: Path, patients: int, cohort_only: bool, jobs: int | None) -> int:
    """Make a cohort of invented patients and run the whole job on it."""
    from privagams.demo.job import run_demo

    return int(run_demo(folder, patients, cohort_only, jobs))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(cli.main(prog_name="privagams"))


def _prepare(file: Path, overrides: tuple[str, ...], runs: Path | None) -> Prepared:
    from privagams.config import load
    from privagams.run import prepare

    pipeline, registry = load(file, overrides)
    return prepare(pipeline, registry, runs or pipeline.folder / "runs")


def _run_folder(file: Path, overrides: tuple[str, ...], runs: Path | None) -> Path:
    from privagams.config import load

    pipeline, _ = load(file, overrides)
    return (runs or pipeline.folder / "runs") / pipeline.name


def _show_plan(prepared: Prepared) -> int:
    from privagams.plan_words import show_plan

    return show_plan(prepared)
