"""Is any byte of an erased record left? Plants canaries, lets a model memorise them, deletes them, and scans.

    python benchmarks/canary_scan.py --write docs/purge.md

Every verb is the real one, in one process on a project of its own. What the scan finds before the deletion proves
that it can find it; decoys, records that never existed, must never be found. Afterwards the stores are put back from
a copy made before, without ZenML's database and the ledger, and `expunge purge` must destroy all of it again; then
an older ledger is put back, and every verb that trains or destroys must refuse it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import canary_project
from canary_page import page

from adapters.byte_scan import Hit, Wanted, scan

PLACES = (
    ("dvc/.dvc/cache", "DVC cache"),
    ("dvc-remote", "DVC remote"),
    ("stores/default_zen_store", "ZenML's database"),
    ("stores", "artifact store"),
    ("work", "work folder"),
    ("ledger.db", "ledger"),
    ("certificates", "certificates"),
    ("reports", "reports"),
)
BACKED_UP = ("dvc", "dvc-remote", "stores")
REQUEST = "canary-request"


class Experiment:
    """One project from the planting to the last scan; `facts` is what came out."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, root / ".expunge"
        canary_project.write_project(root)
        self.features, self.owners = canary_project.canaries(root)
        rng = np.random.default_rng(99)
        self.decoys = {f"decoy-{i}": rng.random((5, 5)).astype(np.float32) for i in range(len(self.features))}
        names = dict.fromkeys(self.features, "record id") | dict.fromkeys(self.owners.values(), "person id")
        self.wanted = Wanted(self.features | self.decoys, names)
        self.facts: dict[str, Any] = {
            "canaries": len(self.features),
            "decoys": len(self.decoys),
            "records": canary_project.RECORDS,
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """A verb as the command line has it; returns its standard output."""
        from cli.main import app
        from expunge.errors import ExpungeError

        out = io.StringIO()
        got = 0
        with contextlib.redirect_stdout(out):
            try:
                got = app(["--project", str(self.root), *arguments], standalone_mode=False) or 0
            except ExpungeError as error:
                got = error.exit_code
                out.write(str(error))
        if got != code:
            raise SystemExit(f"expunge {' '.join(arguments)}: exit {got}\n{out.getvalue()}")
        return out.getvalue()

    def look(self, name: str) -> list[Hit]:
        """Scan the whole state folder, and sum up by place and form how many canaries were found."""
        started = time.monotonic()
        hits = scan(self.state, self.wanted)
        found: dict[str, dict[str, set[str]]] = {}
        for hit in hits:
            found.setdefault(_place(hit.path), {}).setdefault(hit.form, set()).add(hit.record)
        files = [path for path in self.state.rglob("*") if path.is_file()]
        self.facts[name] = {
            "found": {place: {form: len(them) for form, them in forms.items()} for place, forms in found.items()},
            "decoys": sorted({hit.record for hit in hits} & set(self.decoys)),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "seconds": round(time.monotonic() - started, 1),
        }
        return hits

    def train_and_plant(self) -> None:
        self.run("train", "-c", str(self.root / "scenario.yaml"))
        self.run("score")
        self.run("calibrate")
        planted = canary_project.plant(self.state, np.stack([f.ravel() for f in self.features.values()]))
        hits = {hit.path for hit in self.look("before")}
        names = [str(path.relative_to(self.state)) for path in planted if not path.name.endswith(".dir")]
        self.facts["planted"] = len(names)
        self.facts["planted_and_not_found"] = sorted(set(names) - hits)

    def delete(self) -> None:
        options = [part for record in self.features for part in ("--record", record)]
        self.run("request", "add", *options, "--id", REQUEST)
        self.facts["ledger_is_older"] = {}
        shutil.copy(self.state / "ledger.db", self.root / "old-ledger.db")
        for name in BACKED_UP:
            shutil.copytree(self.state / name, self.root / "backup" / name)
        shutil.rmtree(self.root / "backup" / "stores" / "default_zen_store")
        before = self._fingerprint()
        self.facts["dry_run"] = json.loads(self.run("purge", "--dry-run", "--json"))
        self.facts["dry_run_changed"] = self._fingerprint() != before
        self.run("run-due")
        self.look("after")

    def put_back(self) -> None:
        kept = self._objects()
        canary_project.drop_from_source(self.root)
        shutil.copytree(self.root / "backup", self.state, dirs_exist_ok=True)
        self.look("restored")
        self.facts["doctor_restored"] = self.run("doctor", "--json", code=5)
        self.facts["purged_again"] = json.loads(self.run("purge", "--json"))
        self.look("again")
        self.facts["objects_left_over"] = sorted(self._objects() - kept)
        self.facts["doctor"] = self.run("doctor", "--json")
        self.facts["purge_of_nothing"] = json.loads(self.run("purge", "--json"))

    def models(self) -> None:
        """List, roll back and destroy: each refusal with its exit code, and what serves after each change."""
        (purged,) = [m["version"].split()[1] for m in self._models() if not m["may_serve"]]
        facts: dict[str, Any] = {"listed": self._models()}
        facts["to_a_destroyed_one"] = self.run("model", "rollback", purged, code=5)
        facts["to_no_other"] = self.run("model", "rollback", code=2)
        facts["to_an_unknown_one"] = self.run("model", "rollback", "nine", code=3)
        self.run("train")
        facts["trained"] = self._serving()
        facts["rolled_back"] = json.loads(self.run("model", "rollback", "--json"))
        facts["serves_after_rollback"] = self._serving()
        facts["again"] = self.run("model", "rollback", facts["rolled_back"]["after"].split()[1], code=2)
        facts["finished_after_a_kill"] = self._kill_between(facts["rolled_back"])
        newer = facts["rolled_back"]["before"].split()[1]
        facts["to_destroy"] = json.loads(self.run("model", "destroy", newer, "--dry-run", "--json"))
        before = self._fingerprint()
        facts["not_confirmed"] = self.run("model", "destroy", newer, code=6)
        facts["what_serves"] = self.run("model", "destroy", self._serving()[0].split()[1], "--yes", code=6)
        facts["refusals_changed"] = self._fingerprint() != before
        facts["destroyed"] = json.loads(self.run("model", "destroy", newer, "--yes", "--json"))
        facts["listed_after"] = self._models()
        facts["destroyed_twice"] = self.run("model", "destroy", newer, "--yes", code=2)
        self.run("doctor", "--json")
        self.run("audit", "request", REQUEST)
        self.facts["models"] = facts

    def _models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("model", "list", "--json"))
        return found

    def _serving(self) -> list[str]:
        return [m["version"] for m in self._models() if m["stage"] == "production"]

    def _kill_between(self, rolled_back: dict[str, str]) -> list[str]:
        """As if the process had died after the stage had moved, before the event said so; the events afterwards."""
        from adapters.ledger import open_ledger

        labels = {"from": rolled_back["before"], "to": rolled_back["after"]}
        with open_ledger() as ledger:
            ledger.append_event("model.rollback.started", labels)
        self.run("model", "rollback", rolled_back["after"].split()[1])
        with open_ledger() as ledger:
            return [event.kind for event in ledger.events() if event.kind.startswith("model.rollback")]

    def old_ledger(self) -> None:
        newest = self.root / "new-ledger.db"
        shutil.copy(self.state / "ledger.db", newest)
        shutil.copy(self.root / "old-ledger.db", self.state / "ledger.db")
        verbs = {"doctor": ("doctor", "--json"), "purge": ("purge",), "run-due": ("run-due",), "train": ("train",)}
        self.facts["ledger_is_older"] = {name: self.run(*verb, code=5) for name, verb in verbs.items()}
        shutil.copy(newest, self.state / "ledger.db")
        self.run("doctor", "--json")

    def _objects(self) -> set[str]:
        homes = (self.state / "dvc" / ".dvc" / "cache" / "files", self.state / "dvc-remote" / "files")
        return {str(path) for home in homes for path in home.rglob("*") if path.is_file()}

    def _fingerprint(self) -> dict[str, bytes]:
        """Every file but locks and what DVC writes whenever it is opened."""
        own = ("locks", "dvc-site-cache", "dvc/.dvc/tmp")
        files = [path for path in self.state.rglob("*") if path.is_file()]
        names = {str(path.relative_to(self.state)): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith(own)}


def _place(path: str) -> str:
    if path.startswith("stores/") and "/logs/" in path:
        return "step logs"
    return next((place for start, place in PLACES if path.startswith(start)), "other files of the project")


def run(root: Path) -> dict[str, Any]:
    """The whole experiment in a folder; returns its facts."""
    experiment = Experiment(root)
    experiment.train_and_plant()
    experiment.delete()
    experiment.put_back()
    experiment.models()
    experiment.old_ledger()
    return experiment.facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="Where to work; default: a temporary folder.")
    parser.add_argument("--json", type=Path, help="Write the facts to this file.")
    parser.add_argument("--write", type=Path, help="Write the page to this file.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        facts = run(given.folder or Path(temporary))
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1))
    words = page(facts)
    if given.write:
        given.write.write_text(words)
    sys.stdout.write(words)


if __name__ == "__main__":
    main()
