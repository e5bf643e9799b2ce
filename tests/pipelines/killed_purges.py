"""What killed processes, backups and a second process leave of a project's stores, and what becomes of it, as JSON.

`python killed_purges.py FOLDER` makes a project of its own there: the real stores and ledger, tiny trajectories and no
training pipeline. Each scene ends with a project in which nothing is left over.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import traceback
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

CLONE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CLONE)]

from adapters import bootstrap  # noqa: E402
from adapters.project import Project  # noqa: E402

PROJECT = Project(Path(sys.argv[1]).resolve())
bootstrap.start(PROJECT)

from zenml import pipeline, save_artifact, step  # noqa: E402

from adapters import (  # noqa: E402
    artifacts,
    clock,
    model_destruction,
    model_registry,
    purge_again,
    purge_preview,
    purging,
    remains,
    step_logs,
)
from adapters.checkpoint_store import CheckpointStore  # noqa: E402
from adapters.interim import INTERIM  # noqa: E402
from adapters.ledger import open_ledger, pseudonymizer  # noqa: E402
from adapters.purge_records import purge_records  # noqa: E402
from adapters.running import running  # noqa: E402
from expunge.data import RecordTable, load_records  # noqa: E402
from expunge.models import ModelSpec  # noqa: E402
from expunge.settings import parse_settings  # noqa: E402
from expunge.training import TrainingConfig, train  # noqa: E402
from expunge.unlearning.rewind_prefix import RewindPrefix  # noqa: E402
from materializers.prefixes import RewindPrefixMaterializer  # noqa: E402
from materializers.tables import RecordTableMaterializer  # noqa: E402
from materializers.trajectories import TrajectoryMaterializer  # noqa: E402
from pipelines import due  # noqa: E402

DIGITS = load_records("digits")
STORE = PROJECT.stores
LONG_AGO = 1_000_000_000.0
_seeds = iter(range(100))


def trained(records: RecordTable) -> Any:
    config = TrainingConfig.model_validate(
        {"steps": 4, "batch_size": 4, "learning_rate": 0.1, "checkpoints": 3, "seed": next(_seeds),
         "noise": {"convention": "mean_gradient", "sigma": 0.02}}
    )  # fmt: skip
    spec = ModelSpec("mlp", tuple(records.features.shape[1:]), records.classes, options={"hidden": [4]})
    return train(spec, records, config, Path(tempfile.mkdtemp(dir=PROJECT.root)))


def trajectory(start: int) -> Any:
    """A stored trajectory of twenty records."""
    made = trained(DIGITS.select(DIGITS.record_ids[start : start + 20]))
    return save_artifact(made, "trajectory", materializer=TrajectoryMaterializer)


def pseudonyms(*record_ids: str) -> set[str]:
    names = pseudonymizer()
    return {p for r in record_ids for p in names.records(r)}


def folder_of(version: Any) -> Path:
    return Path(version.uri)


def aged(*paths: Path) -> None:
    """As if nobody had touched them for long."""
    for path in paths:
        for one in [*path.rglob("*"), path]:
            os.utime(one, (LONG_AGO, LONG_AGO))


def killed_save(description: str | None = None) -> tuple[Any, Path]:
    """What is stored when a process dies before ZenML hears of its trajectory; `description`: of the file it wrote."""
    made = trained(DIGITS.select(DIGITS.record_ids[:20]))
    stored = CheckpointStore().add({c.file: made.directory / c.file for c in (*made.kept, made.final)})
    folder = folder_of(trajectory(40)).parent / str(uuid.uuid4())
    folder.mkdir()
    (folder / "dvc.json").write_text(json.dumps(stored.to_dict()) if description is None else description)
    aged(folder, PROJECT.dvc / "trajectories")
    return stored, folder


def present(stored: Any) -> int:
    return len(CheckpointStore().present(stored))


@contextmanager
def backup() -> Any:
    """Afterwards everything that lay in the stores lies there again, as after a restore."""
    copies = [
        (PROJECT.root / f"copy-{n}", place) for n, place in enumerate((STORE / "x", PROJECT.dvc, PROJECT.dvc_remote))
    ]
    copies[0] = (PROJECT.root / "copy-0", _artifact_store())
    for copy, place in copies:
        shutil.copytree(place, copy, symlinks=True)
    yield
    for copy, place in copies:
        shutil.copytree(copy, place, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(copy)


def _artifact_store() -> Path:
    from zenml.client import Client

    return Path(Client().active_stack.artifact_store.path)


def cut_in_half() -> Any:
    stored, folder = killed_save('{"dvc_hash": "12')
    remains.sweep()
    return {"folder": folder.exists(), "objects": present(stored)}


def killed_before_it_had_a_name() -> Any:
    stored, folder = killed_save()
    with running_elsewhere():
        nothing = purge_records(pseudonyms("nobody"), (), "none-elsewhere").rescan
    before = present(stored)
    scan = purge_records(pseudonyms("nobody"), (), "none-1").rescan
    return {"elsewhere": nothing, "before": before, "folder": folder.exists(), "objects": present(stored), "scan": scan}


@contextmanager
def running_elsewhere() -> Any:
    """Another process runs a pipeline."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        with running():
            os.write(ready[1], b".")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    yield
    os.write(done[1], b".")
    os.waitpid(pid, 0)


def named_while_it_looks() -> Any:
    """The process that held the stores names its artifact and ends just before this one asks whether anybody works."""
    asked, made = remains.nobody_since, []

    def ends_now() -> float | None:
        if not made:
            made.append(trajectory(60))
            aged(folder_of(made[0]), PROJECT.dvc / "trajectories")
        return asked()

    remains.nobody_since = ends_now
    try:
        remains.sweep()
    finally:
        remains.nobody_since = asked
    return {"folder": folder_of(made[0]).exists(), "objects": present(purging.objects_of(artifacts.hydrated(made[0])))}


@step(enable_cache=False, output_materializers={"training_records": RecordTableMaterializer})
def make_table() -> Annotated[RecordTable, "training_records"]:
    return DIGITS.select(DIGITS.record_ids[100:120])


@pipeline(enable_cache=False)
def loading() -> None:
    make_table()


def killed_in_its_purge() -> Any:
    """Destroyed, and rows taken out, by a run that then dies; the same run is called again."""
    loading()
    made = artifacts.newest("training_records")
    table = save_artifact(
        DIGITS.select(DIGITS.record_ids[110:130]), "held_out_records", materializer=RecordTableMaterializer
    )
    table = artifacts.hydrated(table)
    artifacts.note(table, {artifacts.MODEL_VERSION: "digits-mlp 7"})
    logs = step_logs.of_runs([made])
    artifacts.destroy(made, "run-killed")
    artifacts.remove_records(table, set(DIGITS.record_ids[110:113]), "run-killed")
    done = purge_records(pseudonyms(*DIGITS.record_ids[100:113]), (), "run-killed")
    with open_ledger() as ledger:
        rows = [
            t.details["rows"] for t in ledger.tombstones(run_id="run-killed") if t.kind == "rows of held_out_records"
        ]
    left = [path for path in logs if Path(path).exists()]
    return {"logs": len(logs), "left": left, "rows": rows, "kinds": sorted(p["kind"] for p in done.destroyed)}


def request(name: str, record: str) -> Any:
    with open_ledger() as ledger:
        ledger.add_request(name, None, [record], "gdpr", clock.now())
        ledger.admit(name)


def settings() -> Any:
    training = {
        "steps": 4,
        "batch_size": 4,
        "learning_rate": 0.1,
        "checkpoints": 3,
        "noise": {"convention": "mean_gradient", "sigma": 0.02},
    }
    model = {"name": "mlp", "registered_as": "digits-mlp"}
    return parse_settings({"data": {"name": "digits"}, "model": model, "training": training}, "the test")


def nobody_closes_it() -> Any:
    """A run whose requests were closed when the process died before it closed the run."""
    request("waited", DIGITS.record_ids[200])
    with open_ledger() as ledger:
        ledger.add_run("run-waits", details={"requests": ["waited"]})
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            ledger.move("waited", status, "run-waits")
        ledger.mark_erased("waited", "run-waits")
        ledger.update_run("run-waits", status=INTERIM)
    statuses = []
    for last in ("purged", "closed"):
        with open_ledger() as ledger:
            ledger.move("waited", last, "run-waits")
        due.run_due(settings(), None)
        with open_ledger() as ledger:
            statuses.append(ledger.get_run("run-waits").status)
    return statuses


def planned_anew_for_nothing() -> Any:
    """A plan waits for a person when a model that never saw the record takes the place of the one it is for."""
    request("overtaken", DIGITS.record_ids[300])
    plan = {"model_version": "digits-mlp old", "forget_records": 1, "method": "rewind", "predicted_steps": 1,
            "predicted_cost": 0.1, "reason": "", "predicted_left": 0.1}  # fmt: skip
    with open_ledger() as ledger:
        ledger.add_run("run-old", model_version_before="another", details={"requests": ["overtaken"]})
        ledger.update_run("run-old", plan=plan, status="planned", method="rewind")
        ledger.move("overtaken", "planned", "run-old")
        ledger.ask_approval("run-old")
    table = save_artifact(
        DIGITS.select(DIGITS.record_ids[400:420]), "training_records", materializer=RecordTableMaterializer
    )
    model_registry.register("digits-mlp", "serving", [table.id], {}, model_registry.PRODUCTION)
    said: list[str] = []
    done = due.run_due(settings(), None, said.append)
    with open_ledger() as ledger:
        found = ledger.get_request("overtaken")
    return {"answered": done.answered, "status": found.status, "outcome": found.outcome, "said": said}


def killed_model_destruction() -> Any:
    """Marked by `model destroy`, which then dies; it is called again."""
    found = trajectory(500)
    stored = purging.objects_of(artifacts.hydrated(found))
    version = model_registry.register("doomed", "one", [found.id], {})
    artifacts.mark_destroyed(artifacts.hydrated(found), "destroy-doomed-one")
    done = model_destruction.destroy_model(version, model_destruction.derived_from(version))
    with open_ledger() as ledger:
        events = [e.kind for e in ledger.events() if e.run_id == "destroy-doomed-one" and e.kind.startswith("model.")]
    return {
        "artifacts": len(done["artifacts"]), "folder": folder_of(found).exists(), "objects": present(stored),
        "events": events,
    }  # fmt: skip


def prefix() -> Any:
    made = trained(DIGITS.select(DIGITS.record_ids[600:620]))
    left = RewindPrefix(
        "run-prefix", "f" * 64, (), made.record_ids, made.kept, (), "2030-01-01", directory=made.directory
    )
    return artifacts.hydrated(save_artifact(left, "rewind_prefix", materializer=RewindPrefixMaterializer))


def restored() -> Any:
    """A backup brings back a prefix, a trajectory, and what no artifact names; first it is only looked at."""
    own, kept = artifacts.hydrated(trajectory(650)), prefix()
    objects = {v.artifact.name: purging.objects_of(v) for v in (own, kept)}
    with backup():
        purge_records(pseudonyms(*DIGITS.record_ids[600:670]), (), "run-purged")
        gone = {name: present(stored) for name, stored in objects.items()}
    # the prefix comes back as bytes alone
    shutil.rmtree(folder_of(kept), ignore_errors=True)
    listed = [item.to_dict() for item in purge_preview.preview()[1] if item.action == "destroy"]
    back = purge_again.whats_back()
    stored_again = remains.sweep()
    run_id, done = purge_again.purge_again()
    with open_ledger() as ledger:
        rows = sorted({t.kind for t in ledger.tombstones(run_id=run_id)} & set(objects))
    return {
        "gone": gone, "listed": sorted({i["kind"] for i in listed}), "sweep": stored_again, "rows": rows,
        "found": done.rescan["found"] if done else None, "back": len(back),
        "left": {name: present(stored) for name, stored in objects.items()}, "again": purge_again.whats_back(),
    }  # fmt: skip


def listed_whole() -> Any:
    """A prefix that was destroyed is back, files and all, and something has no name: both without any request."""
    kept = prefix()
    with backup():
        purge_records(pseudonyms(*DIGITS.record_ids[600:620]), (), "run-purged-2")
    nameless, _ = killed_save()
    items = [item for item in purge_preview.preview()[1] if item.action == "destroy"]
    sizes = [item.size for item in items if item.kind == "checkpoint" and item.id.startswith("step_")]
    named = [words for words in purge_again.whats_back() if nameless.dvc_hash in words]
    purge_again.purge_again()
    return {
        "kinds": sorted({i.kind for i in items}), "sizes": sizes, "named": len(named),
        "objects": present(nameless) + present(purging.objects_of(kept)), "again": purge_again.whats_back(),
    }  # fmt: skip


SCENES = {
    f.__name__: f
    for f in (
        cut_in_half, killed_before_it_had_a_name, named_while_it_looks, killed_in_its_purge,
        planned_anew_for_nothing, nobody_closes_it, killed_model_destruction, restored, listed_whole,
    )
}  # fmt: skip


def main() -> None:
    facts = {}
    for name, scene in SCENES.items():
        try:
            facts[name] = scene()
        except Exception:
            facts[name] = traceback.format_exc()
    sys.stdout.write(json.dumps(facts, default=str) + "\n")


if __name__ == "__main__":
    main()
