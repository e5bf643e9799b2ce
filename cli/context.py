"""What every command shares: the project, its settings, and the start of ZenML. Everything heavy is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adapters.project import Project
    from expunge.data.config import DataSettings
    from expunge.settings import ProjectSettings

Config = Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file; default: what was trained last.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override one number: key.path=value. Repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]


class Options:
    """The global options of this call."""

    project: Path | None = None
    debug: bool = False


def project() -> Project:
    """The project of this call, made current."""
    from adapters.project import find_project, use_project

    found = find_project(Options.project)
    use_project(found)
    return found


def settings(config: Path | None = None, overrides: list[str] | None = None) -> ProjectSettings:
    """Settings from -c, else those of the newest training, else the project's own, else the digits scenario."""
    from expunge.settings import load_settings

    return load_settings(_settings_file(config), overrides or [])


def data_settings(config: Path | None = None) -> DataSettings:
    """The `data` section of the settings alone: which records there are is known without loading what trains."""
    from expunge.data.config import load_data_section

    return load_data_section(_settings_file(config))


def _settings_file(config: Path | None) -> Path:
    from adapters.project import CODE_ROOT

    found = project()
    if config is not None:
        places = [config, found.root / config, CODE_ROOT / config]
        return next((place for place in places if place.is_file()), config)
    places = [found.active_settings, found.own_settings, CODE_ROOT / "configs" / "digits.yaml"]
    return next(place for place in places if place.is_file())


def start() -> None:
    """Make ZenML ready for the project of this call."""
    from adapters import bootstrap
    from cli.progress import show_progress

    bootstrap.start(project(), Options.debug)
    show_progress()


def refuse_unwritable(path: Path | None) -> None:
    """Before any work: a file that is to be written needs its folder. Raises UsageError."""
    from expunge.errors import UsageError

    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} to.", "Create it first.")
    if path is not None and path.is_dir():
        raise UsageError(f"{path} is a folder.", "Name a file in it.")


def remember(chosen: ProjectSettings) -> None:
    """Make these settings the ones that later commands go by."""
    import yaml

    path = project().active_settings
    partial = path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False))
    partial.replace(path)
