"""Would the harness notice? The program made wrong in a child, and a finished project made wrong afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing

from fault_harness.checks import Look
from fault_harness.points import BEFORE, Kill

Tamper = Callable[[Look], None]


def purge_before_promotion() -> None:
    """Destroy the old model first, promote afterwards."""
    from adapters import artifacts, model_registry, purging

    register = model_registry.register

    def wrong(name: str, version: str, *rest: object, **more: object) -> object:
        old = model_registry.production(name)
        for one in artifacts.versions("trajectory", model_version_id=old.id):
            purging.destroy_trajectory(one, version)
        return register(name, version, *rest, **more)

    model_registry.register = wrong


PURGE_TOO_EARLY = Kill("promote_model | commit | zenml model_version", 1, BEFORE)
"""Where to kill, so that the project stands between the two."""


def close_without_certificate() -> None:
    """Issue certificates to nobody."""
    from expunge.compliance.ledger import Ledger

    certificates = Ledger.certificates
    Ledger.add_certificate = lambda *a, **m: None  # type: ignore[method-assign]
    Ledger.certificates = lambda self, request=None: (
        certificates(self, request)
        or (  # type: ignore[method-assign]
            [_Paper()] if request and self.get_request(request).status == "purged" else []
        )
    )


class _Paper:
    run_id, path, sha256, interim, at = "", "", "", False, ""


def unlearn_again_after_promotion() -> None:
    """Take a run that had promoted for one that had not."""
    from adapters import model_registry
    from expunge.compliance.lifecycle import MOVES, Status
    from pipelines import unfinished

    MOVES[Status.PROMOTED] = MOVES[Status.PROMOTED] | {Status.QUARANTINED}
    model_registry.has_served = lambda version: False
    resume, let_go = unfinished._resume, unfinished.let_go

    def wrong_let_go(ledger: object, run_id: str) -> object:
        for request in ledger.list_requests("promoted"):  # type: ignore[attr-defined]
            ledger.move(request.id, "quarantined", run_id)  # type: ignore[attr-defined]
        return let_go(ledger, run_id)  # type: ignore[arg-type]

    def wrong(ledger: object, settings: object, say: object) -> object:
        for run in ledger.list_runs("promoted"):  # type: ignore[attr-defined]
            ledger.update_run(run.id, status="verified")  # type: ignore[attr-defined]
        from adapters import remains

        remains.discard = lambda version, run_id: None
        return resume(ledger, settings, say)  # type: ignore[arg-type]

    unfinished._resume, unfinished.let_go = wrong, wrong_let_go


def _sql(table: str, statement: str) -> Tamper:
    def tamper(seen: Look) -> None:
        path = "ledger.db" if table == "ledger" else "stores/default_zen_store/zenml.db"
        with closing(sqlite3.connect(seen.house.state / path)) as connection:
            for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
                connection.execute(f"drop trigger {name}")
            connection.execute(statement)
            connection.commit()

    return tamper


def _certificate(change: Callable[[bytes], bytes]) -> Tamper:
    def tamper(seen: Look) -> None:
        path = seen.house.state / seen.certificates[0]["path"]
        path.write_bytes(change(path.read_bytes()))

    return tamper


def _other_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + (b"B" if content[middle : middle + 1] == b"A" else b"A") + content[middle + 1 :]


def _own_files(seen: Look, name: str) -> Look:
    return next(a for a in seen.artifacts if a.name == name and seen.serving[0] in a.versions).uri


def _lose_a_checkpoint(seen: Look) -> None:
    stored = json.loads((_own_files(seen, "trajectory") / "dvc.json").read_text())
    seen.objects()[next(iter(stored["files"].values()))][0].unlink()


def _lose_the_model(seen: Look) -> None:
    (_own_files(seen, "model") / "model.safetensors").unlink()


def _nameless_folder(seen: Look) -> None:
    here = _own_files(seen, "model")
    shutil.copytree(here, here.with_name("0badc0de"))


def _remember(seen: Look) -> None:
    records = seen.house.root / "records.csv"
    (seen.house.state / "reports" / "copy.csv").write_bytes(records.read_bytes())


def _old_epoch(seen: Look) -> None:
    (seen.house.state / "epoch").write_text("0" * 64 + "\n")


def _work_left(seen: Look) -> None:
    (seen.house.state / "work" / "unlearn-run-1").mkdir(parents=True)


TAMPERS: Mapping[str, tuple[str, Tamper]] = {
    "an event is deleted": ("chain", _sql("ledger", "delete from event where seq = 5")),
    "events are deleted": (
        "chain",
        _sql("ledger", "delete from event where kind = 'run.updated'"),
    ),
    "a row is changed": ("chain", _sql("ledger", "update request set due_at = '2040-01-01'")),
    "a request is lost": ("lost", _sql("ledger", "delete from request where id = 'easy'")),
    "a request is open again": ("lost", _sql("ledger", "update request set status = 'failed' where id = 'easy'")),
    "a certificate's entry is lost": ("certificate", _sql("ledger", "delete from certificate")),
    "a certificate is cut in half": ("certificate", _certificate(lambda content: content[: len(content) // 2])),
    "a certificate has another byte": ("certificate", _certificate(_other_byte)),
    "two models serve": ("serving", _sql("zenml", "update model_version set stage = 'production'")),
    "no model serves": ("serving", _sql("zenml", "update model_version set stage = 'archived'")),
    "a checkpoint of the model that serves is lost": ("serving", _lose_a_checkpoint),
    "the weights of the model that serves are lost": ("serving", _lose_the_model),
    "a folder of nobody": ("leftover", _nameless_folder),
    "half-finished work": ("leftover", _work_left),
    "the records are still there": ("trace", _remember),
    "an epoch of long ago": ("epoch", _old_epoch),
}
"""What is done to a finished project -> the first word of the violation that must be found, and how it is done."""
