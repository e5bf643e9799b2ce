"""Does everything work here? Each check with what was found and the exit code of its failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from adapters import artifacts, clock, kernel_table, model_registry
from adapters.checkpoint_store import CheckpointStore
from adapters.facts import code_revision, versions
from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.compliance.chain_check import check_all
from expunge.errors import ExpungeError, IntegrityError, NotFoundError

_NOTE = " If you did, and ran the replay guard, remove .expunge/ledger.checked.json: it remembers the ledger of before."


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
        ("production model", _production),
        ("certificates", _certificates),
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
    CheckpointStore(project).check_writable()
    return f"{project.dvc} and {project.dvc_remote} can be written"


def _ledger(project: Project) -> str:
    with open_ledger(project) as ledger:
        chain = check_all(ledger, project.chain_note, clock.now())
        changed = [] if chain.broken else ledger.verify_rows()
    if chain.broken:
        raise IntegrityError(f"The ledger's chain is {chain.broken}.", f"Restore it from a backup.{_NOTE}")
    if changed:
        raise IntegrityError(f"Ledger row {changed[0]} was changed behind its events.", "Restore it from a backup.")
    return f"chain of {chain.head} events is intact"


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
    from expunge.compliance.verify.check import verify_certificate

    files = sorted(project.certificates.glob("*.certificate.json"))
    for path in files:
        result = verify_certificate(path)
        if not result.ok:
            failed = next(check for check in result.checks if check.status == "failed")
            raise IntegrityError(f"{path}: {failed.name}: {failed.words}", "Restore it from a backup.")
    return f"{len(files)} verified"


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
