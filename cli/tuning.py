"""doctor --tune and --untune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import output
from cli.context import project, start

if TYPE_CHECKING:
    from expunge.settings import ProjectSettings


def time_kernels(chosen: ProjectSettings, json: bool) -> None:
    """Time the candidates of every layer, keep the fastest, and show them."""
    start()
    project().state.mkdir(parents=True, exist_ok=True)
    from pipelines.tuning import tune

    table = tune(chosen)
    if json:
        output.as_json(
            {"kernels": dict(table.kernels), "made_with": dict(table.made_with), "kernel_table": table.digest}
        )
        return
    output.table("Fastest kernels", ("layer", "kernel"), sorted(table.kernels.items()))
    if table.digest is None:
        output.line("No layer has more than one kernel: there is nothing to choose.")
    else:
        output.line(f"Scoring uses them from here on, and records the table {table.digest[:12]} with the scores.")


def forget_kernels(json: bool) -> None:
    """Go by the cost model again."""
    project()
    from adapters.kernel_table import remove

    there = remove()
    if json:
        output.as_json({"removed": there})
    else:
        output.line("The cost model chooses kernels again." if there else "There was no kernel table.")
