"""`edge hil`: scenarios against a real or emulated board, for people who do not write tests."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

EXIT_FOUND, EXIT_REFUSED = 1, 3

hil = typer.Typer(help="Hardware in the loop: run scenarios against a board.", no_args_is_help=True)


@hil.command("run")
def run(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(metavar="SCENARIO...", help="files, or names of shipped ones; none: all shipped", show_default=False),
    ] = None,
    board: Annotated[
        str, typer.Option("--board", metavar="KIND", help="qemu, simulator, serial:DEVICE[,bench=DEVICE], pty:DEVICE")
    ] = "qemu",
    report: Annotated[Path | None, typer.Option("--report", metavar="DIR", help="write report.html and junit.xml there")] = None,
) -> None:
    """Run scenarios and say what held; exit code 1 if anything did not."""
    from firmware_bridge.hil.boards import lacks
    from firmware_bridge.hil.report import write_report
    from firmware_bridge.hil.run import run_scenario
    from firmware_bridge.hil.scenario import FOLDER, ScenarioError, load_scenario, pipeline_of, shipped

    lack = lacks(board)
    if lack:
        typer.echo(f"edge: {lack}", err=True)
        raise typer.Exit(EXIT_REFUSED)
    try:
        chosen = [load_scenario(name) for name in scenarios or shipped()]
    except ScenarioError as error:
        typer.echo(f"edge: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    results = []
    images = tempfile.TemporaryDirectory(prefix="firmware-")
    for scenario, file in chosen:
        typer.echo(f"{scenario.name}: {scenario.title}")
        if file.resolve().parent != FOLDER and (pipeline := pipeline_of(scenario, file)).is_relative_to(FOLDER):
            typer.echo(f"  with the shipped pipeline {pipeline.relative_to(FOLDER)}: none of that name is beside {file}")
        result = run_scenario(scenario, file, board, images=Path(images.name))
        results.append(result)
        if result.error:
            typer.echo(f"  error  {result.error}")
        for check in result.checks:
            typer.echo(f"  {'ok   ' if check.holds else 'FAIL '}  {check.what}: {check.found}")
        for name, value in result.figures.items():
            typer.echo(f"         {name}: {value}")
    images.cleanup()
    if report is not None:
        typer.echo(f"report: {write_report(results, report)}")
    failed = sum(not result.passed for result in results)
    typer.echo(f"{len(results) - failed} of {len(results)} passed")
    raise typer.Exit(EXIT_FOUND if failed else 0)


@hil.command("list")
def list_scenarios() -> None:
    """Name the shipped scenarios."""
    from firmware_bridge.hil.scenario import load_scenario, shipped

    for name in shipped():
        typer.echo(f"{name:18} {load_scenario(name)[0].title}")
