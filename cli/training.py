"""train, score, calibrate, run PIPELINE."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.context import Config, Json, Set, remember, settings, start
from cli.scoring import score


def add_to(app: typer.Typer) -> None:
    app.command()(train)
    app.command()(score)
    app.command()(calibrate)
    app.command("run")(run)


def train(config: Config = None, overrides: Set = None, json: Json = False) -> None:
    """Train with noise, keep the trajectory of checkpoints, register the model."""
    chosen = settings(config, overrides)
    start()
    from adapters import workdir
    from pipelines.training import run_training

    done = run_training(chosen)
    workdir.release()
    remember(chosen)
    registered, utility = done.load("registered_model").values, done.load("utility").values
    trajectory = done.output("trajectory").run_metadata
    facts = {**registered, **utility, "dvc_hash": trajectory["dvc_hash"], "checkpoints": trajectory["checkpoints"]}
    if json:
        output.as_json(facts)
        return
    output.line(f"Model {registered['version']} ({registered['stage']})")
    if registered["stage"] == "none":
        output.line(
            "  It is no better than always the commonest class, so it does not serve: look at the training settings."
        )
    output.line(
        f"  accuracy: training {utility['training_accuracy']:.1%}, held-out {utility['held_out_accuracy']:.1%}"
        f" (commonest class {utility['commonest_class']:.1%})"
    )
    output.line(f"  trajectory: {trajectory['checkpoints']} checkpoints and the last weights, DVC {facts['dvc_hash']}")


def calibrate(config: Config = None, overrides: Set = None, json: Json = False) -> None:
    """Forget pilot sets across the difficulty range in every way; fit what each leaves and costs."""
    chosen = settings(config, overrides)
    start()
    from pipelines.calibration import run_calibration

    predictor = run_calibration(chosen).load("budget_predictor")
    if json:
        output.as_json(predictor.model_dump(mode="json"))
        return
    rows = [
        (
            pilot.name,
            pilot.size,
            f"{pilot.mean_loss:,.0f}",
            f"{pilot.energy:.2f}" + ("" if pilot.measurable else " (nothing to forget)"),
            str(len(pilot.candidates)),
        )
        for pilot in predictor.pilots
    ]
    output.table("Pilot sets", ("set", "records", "mean loss", "distance of the original", "ways tried"), rows)
    found = len(predictor.measurable)
    output.line(f"{found} of {len(predictor.pilots)} sets had something to forget.")
    if found:
        hardest = max(pilot.mean_loss for pilot in predictor.measurable)
        ways = [
            (way, cost, expected)
            for way, cost in predictor.ways.items()
            if (expected := predictor.expected(way, hardest, chosen.planning.caution)) is not None
        ]
        shown = [
            (
                way.method.replace("_", " ") + ("" if way.strength is None else f" ({way.strength:.0%} of the push)"),
                str(way.amount), f"{cost:.2f}", f"{expected.value:+.2f}", f"{expected.cautious:+.2f}",
            )
            for way, cost, expected in ways
        ]  # fmt: skip
        heads = ("method", "restart step or steps", "cost", "predicted to be left", "with caution")
        output.table("What each way should leave of the hardest of them", heads, shown)
    output.line(f"Cost of this calibration: {predictor.cost:.0f} retrainings, once a model.")


def run(
    pipeline: Annotated[str, typer.Argument(help="training, scoring, calibration, deletion, planning or trial.")],
    config: Config = None,
    overrides: Set = None,
    set_spec: Annotated[str, typer.Option("--forget", help="planning, trial: which records.")] = "hardest:0.05",
    json: Json = False,
) -> None:
    """Run one pipeline by name."""
    from expunge.errors import UsageError, nearest

    names = ("training", "scoring", "calibration", "deletion", "planning", "trial")
    if pipeline not in names:
        raise UsageError(f"There is no pipeline {pipeline!r}.", nearest(pipeline, list(names)))
    if pipeline == "training":
        train(config, overrides, json)
    elif pipeline == "scoring":
        score(config, overrides, json, 20)
    elif pipeline == "calibration":
        calibrate(config, overrides, json)
    else:
        from cli import due, unlearning

        if pipeline == "deletion":
            due.run_due(config=config, overrides=overrides, json=json)
        elif pipeline == "planning":
            unlearning.plan(config=config, overrides=overrides, set_spec=set_spec, json=json)
        else:
            unlearning.forget(config=config, overrides=overrides, set_spec=set_spec, json=json)
