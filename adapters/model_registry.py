"""Model versions and stages in ZenML's Model Control Plane: `production` is what passed the gate and serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zenml.client import Client
from zenml.model.utils import link_artifact_version_to_model_version
from zenml.utils.metadata_utils import log_metadata
from zenml.utils.pagination_utils import depaginate

from adapters import artifacts
from expunge.errors import NotFoundError

PRODUCTION = "production"
ARCHIVED = "archived"
CERTIFICATES = "certificates"


def register(
    name: str, version: str | None, artifact_ids: Iterable[Any], metadata: Mapping[str, Any], stage: str | None = None
) -> Any:
    """Make a version of a model, link its artifacts, and give it a stage.

    Idempotent on (name, version); a version without a name gets the next number.
    """
    client = Client()
    try:
        client.get_model(name)
    except KeyError:
        client.create_model(name)
    made = find(name, version) if version is not None else None
    if made is None:
        made = client.create_model_version(name, name=version)
        log_metadata(metadata=dict(metadata), model_name=name, model_version=made.name)
    link(made, artifact_ids)
    if stage is not None and made.stage != stage:
        client.update_model_version(name, made.id, stage=stage, force=True)
    return client.get_model_version(name, made.id)


def link(model_version: Any, artifact_ids: Iterable[Any]) -> None:
    """Say that these artifacts belong to a model version."""
    for artifact_id in artifact_ids:
        artifact = Client().get_artifact_version(artifact_id)
        link_artifact_version_to_model_version(artifact, model_version)
        if artifacts.MODEL_VERSION not in artifact.run_metadata:
            label = f"{model_version.model.name} {model_version.name}"
            artifacts.note(artifact, {artifacts.MODEL_VERSION: label})


def note(model_version_id: Any, metadata: Mapping[str, Any]) -> None:
    """Add metadata to a model version: opaque ids, numbers, digests. What is there already is not written again."""
    found = by_id(str(model_version_id))
    new = {name: value for name, value in metadata.items() if found.run_metadata.get(name) != value}
    if new:
        log_metadata(metadata=new, model_name=found.model.name, model_version=found.name)


def certificates_of(model_version: Any) -> dict[str, str]:
    """Digest, by request, of the certificates that speak of a model version."""
    noted = model_version.run_metadata.get(CERTIFICATES) or {}
    return {str(request_id): str(digest) for request_id, digest in noted.items()}


def find(name: str, version: str) -> Any | None:
    """A version by name, number or stage, or None.

    Through the list, for ZenML's `get_...` calls only promise a value while a pipeline is being put together.
    """
    for found in all_versions(name):
        if version in (found.name, str(found.number), found.stage):
            return found
    return None


def by_id(model_version_id: str) -> Any:
    """A version by its ZenML id. Raises NotFoundError."""
    for found in all_versions():
        if str(found.id) == model_version_id:
            return found
    raise NotFoundError(f"There is no model version {model_version_id}.", "See `expunge status`.")


def all_versions(name: str | None = None) -> list[Any]:
    """Versions of one model or of all, newest first."""
    found = depaginate(Client().list_model_versions, model=name, hydrate=True, sort_by="desc:created")
    return list(found)


def production(name: str | None = None) -> Any:
    """The version that serves. Raises NotFoundError when no model was trained yet."""
    for version in all_versions(name):
        if version.stage == PRODUCTION:
            return version
    raise NotFoundError(
        f"There is no production model{f' {name}' if name else ''} in this project.", "Train one: `expunge train`."
    )


def has_served(model_version: Any | None) -> bool:
    """Whether it was ever made the one that serves; a version that was never finished has no stage."""
    return model_version is not None and model_version.stage in (PRODUCTION, ARCHIVED)


def archive(model_version: Any) -> None:
    """Take a version out of service."""
    if model_version.stage != ARCHIVED:
        Client().update_model_version(model_version.model.id, model_version.id, stage=ARCHIVED, force=True)


def label(model_version: Any) -> str:
    """How a version is called in plans, tables and certificates."""
    return f"{model_version.model.name} {model_version.name}"


def named(name: str, version: str) -> Any:
    """A version by name, number, stage or "<model> <version>". Raises NotFoundError naming the known ones."""
    found = find(name, version.removeprefix(f"{name} "))
    if found is None:
        known = ", ".join(v.name for v in all_versions(name)) or "none"
        raise NotFoundError(f"There is no version {version!r} of model {name}.", f"Known: {known}.")
    return found


def set_production(model_version: Any) -> None:
    """Make a version the one that serves; the one that did is archived in the same transaction of ZenML's."""
    Client().update_model_version(model_version.model.id, model_version.id, stage=PRODUCTION, force=True)
