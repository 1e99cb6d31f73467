"""`lowlands study`: run the factorial study and write its findings."""

from __future__ import annotations

from pathlib import Path

import click

from leaderboard.commands.console import output
from leaderboard.commands.execution import Resources, execute, resource_options, start_engine
from leaderboard.commands.run import RESULTS
from suite.errors import InputError
from suite.tracks import PRESETS, find_preset

PRESET_HELP = ", ".join(f"{preset.name} ({preset.description})" for preset in PRESETS.values())


@click.command()
@click.option("--preset", "preset_name", default="small", show_default=True, metavar="NAME", help=f"{PRESET_HELP}.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The directory of the logs."
)
@click.option("--records", type=click.Path(path_type=Path), help="Run nothing: analyse the records of this log.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Where findings.md and its figures go [default: --results]."
)
@click.option("--device", default="cpu", show_default=True, help="Torch device, e.g. cuda.")
@resource_options
def study(
    preset_name: str, results: Path, records: Path | None, report: Path | None, device: str, resources: Resources
) -> None:
    """Run the factorial study and write its findings.

    Every combination of optimizer, step size, depth, width, normalisation, loss, batch size, initial scale and data is
    an ordinary record. Runs are resumable: finished runs are skipped. Then the analysis: which factor decides which
    property, how universally, which measure predicts generalization, and what becomes of the field's claims.

    \b
    Example: lowlands study --preset small
    """
    preset = find_preset(preset_name)
    command = f"lowlands study --preset {preset.name}" if records is None else f"lowlands study --records {records}"
    if records is None:
        records = results / f"{preset.track().name}.jsonl"
        with start_engine(resources, device) as engine:
            from suite.engine.plan import make_plan

            plan = make_plan(preset.submissions(), preset.track().tasks, preset.track(), device)
            execute(engine, plan, records, resources)
    _report(records, report or results, command)


def _report(records: Path, directory: Path, command: str) -> None:
    """Analyse the log `records`, write the findings to `directory` and print the verdicts."""
    from leaderboard.analysis.results import load
    from leaderboard.study.findings import analyse
    from leaderboard.study.frame import study_frame
    from leaderboard.study.report import write

    if not records.is_file():
        raise InputError(f"There are no results at {records}.")
    findings = analyse(study_frame(load([records]).records))
    page = write(findings, directory, records.name, command)
    console = output()
    for verdict in findings.verdicts:
        console.print(f"{verdict.outcome}: {verdict.claim.statement}", highlight=False)
    console.print(f"Findings: {page}", highlight=False)
