"""Does everything work here? Each check with what was found and the exit code of its failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from adapters import artifacts, kernel_table, model_registry, prefixes
from adapters.checkpoint_store import CheckpointStore
from adapters.facts import code_revision, versions
from adapters.ledger import open_ledger
from adapters.ledger_age import require_current
from adapters.project import Project
from adapters.purge_again import whats_back
from adapters.remains import unnamed
from adapters.verification import check_rows, verify_project
from expunge.errors import ExpungeError, IntegrityError, NotFoundError


@dataclass(frozen=True)
class Health:
    """One check."""

    name: str
    ok: bool
    words: str
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_health(project: Project) -> list[Health]:
    """Every check, each of them even when one before it failed."""
    checks: tuple[tuple[str, Callable[[Project], str]], ...] = (
        ("versions", _versions),
        ("checkpoint store", _store),
        ("ledger", _ledger),
        ("age of the ledger", _age),
        ("nothing erased is back", _nothing_back),
        ("production model", _production),
        ("certificates", _certificates),
        ("rewind prefixes", _prefixes),
        ("model versions", _versions_on_record),
        ("kernel table", _kernels),
    )
    return [_run(name, check, project) for name, check in checks]


def _run(name: str, check: Callable[[Project], str], project: Project) -> Health:
    try:
        return Health(name, True, check(project))
    except ExpungeError as error:
        return Health(name, False, str(error), error.exit_code)
    except Exception as error:
        return Health(name, False, f"{type(error).__name__}: {error}", 1)


def _versions(project: Project) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions().items()) + f"; code {code_revision()[:12]}"


def _store(project: Project) -> str:
    store = CheckpointStore(project)
    store.check_writable()
    return f"{project.dvc} can be written, and so can its remote {store.describe()}"


def _ledger(project: Project) -> str:
    return check_rows(project)


def _age(project: Project) -> str:
    with open_ledger(project) as ledger:
        require_current(ledger, project, certificates=True)
    return "it has every event that the head file and the certificates know"


def _nothing_back(project: Project) -> str:
    found = whats_back()
    if found:
        raise IntegrityError(
            f"{len(found)} item(s) exist that should not, such as {found[0]}.",
            "Was a backup put back? See `expunge purge --dry-run`, then run `expunge purge`.",
        )
    return f"no artifact, checkpoint or log of an erased record{unnamed()[1]}"


def _production(project: Project) -> str:
    try:
        serving = model_registry.production()
    except NotFoundError:
        return "none yet: run `expunge train`"
    names = []
    for version in artifacts.versions(model_version_id=serving.id, present_only=True):
        artifacts.load(version)
        names.append(version.artifact.name)
    return f"{model_registry.label(serving)}: every byte of {len(names)} artifacts is as recorded"


def _certificates(project: Project) -> str:
    done = verify_project(project)
    for one in (done.ledger, *done.certificates):
        for failed in one.failures:
            raise IntegrityError(f"{failed.name}: {failed.words}", "See all: `expunge verify --all`.")
    return f"{len(done.certificates)} verified"


def _versions_on_record(project: Project) -> str:
    """Each model version notes the certificates that speak of it: the ledger must know them still."""
    with open_ledger(project) as ledger:
        known = {certificate.sha256 for certificate in ledger.certificates()}
    noted = 0
    for version in model_registry.all_versions():
        for request_id, digest in model_registry.certificates_of(version).items():
            noted += 1
            if digest not in known:
                raise IntegrityError(
                    f"The ledger does not know the certificate of {request_id} ({digest[:16]}…) that model version "
                    f"{model_registry.label(version)} carries: its end was cut off, or it is an old copy.",
                    "Restore the ledger from a newer backup.",
                )
    return f"{noted} certificates noted on model versions are on the ledger"


def _prefixes(project: Project) -> str:
    kept = prefixes.kept()
    late = [prefix for prefix in kept if prefix.destroy_by < prefixes.today()]
    if late:
        raise IntegrityError(
            f"The prefix that {late[0].run_id} left was to be destroyed by {late[0].destroy_by}.",
            "Run `expunge run-due`, and look why the scheduled run did not.",
        )
    for prefix in kept:
        artifacts.load(prefix.version)
    return f"{len(kept)} kept, every byte as recorded" if kept else "none kept"


def _kernels(project: Project) -> str:
    table = kernel_table.load(project)
    if table is None:
        return "none: the cost model chooses"
    kernel_table.usable(str(table.made_with.get("device", "cpu")), project)
    return f"{len(table.kernels)} layers were timed here; {str(table.digest)[:12]} stands with scores that used it"


def check_stores() -> bool:
    """Whether every manifest of the model that serves still resolves to bytes; True before the first training."""
    try:
        serving = model_registry.production()
    except NotFoundError:
        return True
    trajectory = artifacts.newest("trajectory", model_version_id=serving.id)
    if trajectory is None or not artifacts.still_stored(trajectory):
        return False
    stored = artifacts.materializer_of(trajectory).load_stored()
    return len(CheckpointStore().present(stored)) == len(set(stored.objects))
