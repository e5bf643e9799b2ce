"""Which project is this, and where does it keep what? Light: no ZenML, no DVC, no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from expunge.errors import NotFoundError

CODE_ROOT = Path(__file__).resolve().parents[1]
STATE = ".expunge"
VARIABLE = "EXPUNGE_PROJECT"


@dataclass(frozen=True)
class Project:
    """A folder with a configuration and, in `.expunge/`, everything that running it leaves."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / STATE

    @property
    def zenml(self) -> Path:
        return self.state / "zenml"

    @property
    def stores(self) -> Path:
        return self.state / "stores"

    @property
    def dvc(self) -> Path:
        return self.state / "dvc"

    @property
    def dvc_remote(self) -> Path:
        return self.state / "dvc-remote"

    @property
    def remote_record(self) -> Path:
        """Which DVC remote is in use; `dvc_remote` unless the settings name another."""
        return self.state / "remote.json"

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def chain_note(self) -> Path:
        """How far the ledger's chain was checked, and when."""
        return self.state / "ledger.checked.json"

    @property
    def pseudonym_key(self) -> Path:
        return self.state / "keys" / "pseudonym.key"

    @property
    def signing_key(self) -> Path:
        return self.state / "keys" / "certificate.pem"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def models(self) -> Path:
        """The files of the models that certificates speak of."""
        return self.state / "models"

    @property
    def work(self) -> Path:
        """Half-finished runs and checked-out checkpoints; holds nothing that lasts."""
        return self.state / "work"

    @property
    def epoch_file(self) -> Path:
        return self.state / "epoch"

    @property
    def active_settings(self) -> Path:
        """The settings of the newest training: what later commands go by unless told otherwise."""
        return self.state / "active.yaml"

    @property
    def kernel_table(self) -> Path:
        """The kernels that `expunge doctor --tune` found fastest."""
        return self.state / "kernels.json"

    def lock(self, name: str) -> Path:
        """Path of a lock file; its folder exists."""
        folder = self.state / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"

    @property
    def own_settings(self) -> Path:
        """The project's configuration, made by `expunge init`."""
        return self.root / "expunge.yaml"


def find_project(explicit: Path | None = None) -> Project:
    """The project named, else that of EXPUNGE_PROJECT, else the first folder upward that holds `.expunge/`, else the
    clone itself.

    Raises NotFoundError for a named folder that does not exist.
    """
    named = explicit or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if not named.is_dir():
            raise NotFoundError(f"No project folder {named}.", "Make one with `expunge init DIR`.")
        return Project(named.resolve())
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / STATE).is_dir() or (folder / "expunge.yaml").is_file():
            return Project(folder)
    return Project(CODE_ROOT)


def use_project(project: Project) -> None:
    """Make it the project of this process and of its children."""
    from expunge.functions import set_project_root

    os.environ[VARIABLE] = str(project.root)
    set_project_root(project.root)


def current_project() -> Project:
    """The project that `use_project` set; steps find their stores through it."""
    return find_project()
