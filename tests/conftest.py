"""Projects for end-to-end tests: the real `expunge` in processes of its own, every project in a temporary folder.

Tests that share a project carry its xdist group, so that one worker makes it, once.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

# Before torch is imported: workers share the cores, and two threads each would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

EXPUNGE = Path(sys.executable).with_name("expunge")
CLONE = Path(__file__).resolve().parents[1]
HARD, EASY = "demo-hard-contributor", "demo-easy-person"

# pytest has put this folder on the path; its `cli` and `pipelines` must not stand for the packages of those names.
sys.path.insert(0, str(CLONE))

SCENARIO: dict[str, Any] = {
    "data": {"name": "digits", "held_out": 0.2},
    "model": {"name": "mlp", "options": {"hidden": [32]}, "registered_as": "digits-mlp"},
    "training": {
        "steps": 200,
        "batch_size": 64,
        "learning_rate": 0.5,
        "noise": {"convention": "mean_gradient", "sigma": 0.02},
        "checkpoints": 10,
        "seed": 0,
    },
    "calibration": {
        "bins": [0, 5, 20, 100],
        "set_size": 25,
        "oracles": 5,
        "runs": 1,
        "rewind_shares": [0.2, 0.5],
        "fine_tune_shares": [0.5],
        "folds": 2,
        "repeats": 1,
    },
    "evaluation": {
        "look_oracles": 8,
        "verdict_oracles": 40,
        "held_back": 5,
        "half_kept": 10,
        "pool_models": 0,
        "gating": ["influence"],
    },
}
"""digits, small. The gate may refuse and the run fall back to retraining: tests go by what is recorded."""


SMALL: dict[str, Any] = {
    "training": {"steps": 60, "checkpoints": 5},
    "calibration": {"bins": [0, 50, 100], "rewind_shares": [0.5], "set_size": 10, "oracles": 4},
    "planning": {"method": "rewind"},
    # accuracy alone gates, so that the rewind passes on any machine
    "evaluation": {
        "gating": ["utility"], "utility_margin": 0.5, "look_oracles": 5, "verdict_oracles": 19, "half_kept": 2,
        "held_back": 1,
    },
}  # fmt: skip
"""Sections for a house whose runs are rewinds that pass, as small as a run can be."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Under xdist, keep the tests of a group on one worker. Not so with pytest 9.2, where xdist 3.8 loses its groups:
    a project may be made once a worker, and what must not be shared needs a lock.
    """
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"


@dataclass(frozen=True)
class Answer:
    """What a process said, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON value and nothing else."""
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """Standard output with the frames of tables taken out and its lines joined."""
        return " ".join("".join(" " if c in "│┃" else c for c in self.out).split())


@dataclass(frozen=True)
class House:
    """A project folder, the verbs called on it, and a look into its stores behind their back."""

    root: Path
    elsewhere: Path

    @property
    def state(self) -> Path:
        return self.root / ".expunge"

    @property
    def scenario(self) -> Path:
        return self.root / "scenario.yaml"

    @cached_property
    def environment(self) -> dict[str, str]:
        """No setting of ours, ZenML's or DVC's from outside, and no way to the network."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("EXPUNGE_", "ZENML_", "DVC_", "PYTEST_", "PYTHON", "COLUMNS"))
        }
        nowhere = "http://127.0.0.1:9"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere)
        return {**kept, **proxies, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def start(self, *arguments: Any, cwd: Path | None = None, named: bool = True) -> subprocess.Popen[str]:
        """Start a verb in a folder with modules of the clone's names that cannot be imported."""
        project = ["--project", str(self.root)] if named else []
        return subprocess.Popen(
            [str(EXPUNGE), *project, *map(str, arguments)],
            cwd=cwd or self.elsewhere,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: Any, code: int | None = 0, seconds: float = 300, cwd: Path | None = None, named: bool = True
    ) -> Answer:
        """Run a verb; fails unless it exits with `code` (None: any)."""
        return self.finish(self.start(*arguments, cwd=cwd, named=named), code, seconds)

    def finish(self, process: subprocess.Popen[str], code: int | None = 0, seconds: float = 300) -> Answer:
        """Wait for a process of `start`."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        assert code is None or process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return Answer(process.returncode, out, err)

    def kill_when(self, process: subprocess.Popen[str], reached: Callable[[], bool], seconds: float = 240) -> None:
        """SIGKILL a process as soon as something holds; fails when the process ends first."""
        deadline = time.monotonic() + seconds
        while not reached():
            if process.poll() is not None or time.monotonic() > deadline:
                out, err = process.communicate()
                raise AssertionError(f"ended with {process.returncode} before it could be killed\n{out}\n{err}")
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def zenml(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of ZenML's own database."""
        return _rows(self.state / "stores" / "default_zen_store" / "zenml.db", query, values)

    def ledger(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the ledger."""
        return _rows(self.state / "ledger.db", query, values)

    def head(self) -> tuple[int, str]:
        """The ledger's newest event."""
        return self.ledger("select seq, hash from event order by seq desc limit 1")[0] if self.has_ledger else (0, "")

    @property
    def has_ledger(self) -> bool:
        return (self.state / "ledger.db").is_file()

    def count(self, table: str) -> int:
        """Rows of a table of ZenML's."""
        return int(self.zenml(f"select count(*) from {table}")[0][0])

    def runs(self) -> int:
        return self.count("pipeline_run")

    def counts(self) -> dict[str, Any]:
        """Everything that a refused command must leave as it was."""
        return {
            "head": self.head(),
            "artifacts": self.count("artifact_version"),
            "models": self.versions(),
            "objects": sorted(p.name for p in self.objects()),
        }

    def versions(self, stage: str | None = None) -> dict[str, str]:
        """Stage by name of the model versions, oldest first."""
        found = {
            name: at or "none" for name, at in self.zenml("select name, stage from model_version order by created")
        }
        return {name: at for name, at in found.items() if stage in (None, at)}

    def status(self, request_id: str) -> str:
        return str(self.ledger("select status from request where id = ?", request_id)[0][0])

    def artifacts(self, name: str) -> list[dict[str, Any]]:
        """Versions of an artifact with their metadata, oldest first."""
        found = self.zenml(
            "select v.id, v.uri from artifact_version v join artifact a on a.id = v.artifact_id"
            " where a.name = ? order by v.created",
            name,
        )
        return [{"id": i, "uri": Path(uri), "facts": self._facts(i)} for i, uri in found]

    def _facts(self, artifact: str) -> dict[str, Any]:
        rows = self.zenml(
            "select m.key, m.value from run_metadata m join run_metadata_resource r on r.run_metadata_id = m.id"
            " where r.resource_id = ? and r.resource_type = 'artifact_version' order by m.created",
            artifact,
        )
        return {key: json.loads(value) for key, value in rows}

    def objects(self) -> list[Path]:
        """Every DVC object, in the cache and in the remote."""
        homes = (self.state / "dvc" / ".dvc" / "cache" / "files", self.state / "dvc-remote" / "files")
        return [path for home in homes if home.is_dir() for path in home.rglob("*") if path.is_file()]

    def cached(self, md5: str) -> Path:
        return self.state / "dvc" / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]

    def remote(self, md5: str) -> Path:
        return self.state / "dvc-remote" / "files" / "md5" / md5[:2] / md5[2:]

    def trained_ids(self, number: int = -1) -> list[str]:
        """Record ids of a stored training set, the newest unless told otherwise."""
        present = [a for a in self.artifacts("training_records") if "destroyed_at" not in a["facts"]]
        return list(json.loads((present[number]["uri"] / "records.json").read_text())["record_ids"])

    def pseudonyms(self, record_ids: Any) -> dict[str, str]:
        """Record id by pseudonym."""
        from expunge.compliance.pseudonym import load_or_create_key

        names = load_or_create_key(self.state / "keys" / "pseudonym.key")
        return {names.record(r): r for r in record_ids}

    def asked(self, request_id: str, known: Any) -> set[str]:
        """Those of the known record ids that a request names."""
        names = self.pseudonyms(known)
        rows = self.ledger("select record_pseudonym from request_record where request_id = ?", request_id)
        return {names[row[0]] for row in rows}

    def holding(self, needles: Any, folder: Path | None = None) -> dict[str, list[str]]:
        """Files below the state folder whose bytes or name hold one of these texts."""
        wanted = [n.encode() for n in needles]
        found = {}
        for path in sorted((folder or self.state).rglob("*")):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes() + str(path).encode()
                if hits := [n.decode() for n in wanted if n in content]:
                    found[str(path.relative_to(self.root))] = hits
        return found


def _rows(database: Path, query: str, values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def _changed(path: Path) -> Iterator[Path]:
    """One byte of a file changed, for as long as this lasts."""
    mode, content = path.stat().st_mode, path.read_bytes()
    path.chmod(0o644)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    try:
        yield path
    finally:
        path.write_bytes(content)
        path.chmod(mode)


@pytest.fixture(scope="session")
def changed() -> Any:
    """`with changed(path):` has one byte of the file changed."""
    return _changed


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of the clone's own names, each of which raises when it is imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("cli", "pipelines", "steps", "materializers", "adapters", "expunge"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('{name} of another folder was imported')\n")
    return folder


@pytest.fixture(scope="session")
def new_house(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> Callable[..., House]:
    """Makes a project folder with a scenario; `more` replaces sections of it."""

    def _new_house(name: str, **more: dict[str, Any]) -> House:
        house = House(tmp_path_factory.mktemp(name), elsewhere)
        sections = {key: {**SCENARIO.get(key, {}), **more.get(key, {})} for key in {*SCENARIO, *more}}
        house.scenario.write_text(yaml.safe_dump(sections))
        return house

    return _new_house


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Sections of the smallest house: `new_house(name, **small)`."""
    return SMALL


@dataclass(frozen=True)
class Demo:
    """The shared project after its demo, what the demo printed, and which records it erased."""

    house: House
    answer: Answer
    erased: dict[str, set[str]]

    @property
    def gone(self) -> set[str]:
        return set.union(*self.erased.values())

    def certificate(self, request_id: str) -> Path:
        return self.house.state / "certificates" / f"{request_id}.certificate.json"

    @property
    def version(self) -> str:
        """The model version that the deletion made."""
        return str(self.house.ledger("select run_id from request where id = ?", HARD)[0][0])


@pytest.fixture(scope="session")
def digits_ids() -> dict[str, str]:
    """Subject by record id of the digits."""
    from expunge.data import load_records

    table = load_records("digits")
    return dict(zip(table.record_ids, table.subject_ids, strict=True))


@pytest.fixture(scope="session")
def demo(new_house: Callable[..., House], digits_ids: dict[str, str]) -> Demo:
    """`expunge demo -c scenario.yaml`, run once; tests that use it carry `xdist_group("demo")`."""
    house = new_house("demo")
    answer = house.run("demo", "-c", house.scenario)
    return Demo(house, answer, {request: house.asked(request, digits_ids) for request in (HARD, EASY)})
