"""Which records does a scenario train on? Its `data` section, readable without anything that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expunge.errors import NotFoundError, UsageError


class DataSettings(BaseModel):
    """name: a loader or "package.module:function". held_out: share kept out of training, by a hash of record ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    held_out: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = 0


def load_data_section(path: Path) -> DataSettings:
    """The `data` section of a scenario. Raises NotFoundError for a missing file, UsageError for a wrong section."""
    if not path.is_file():
        raise NotFoundError(f"No configuration {path}.", "See configs/ for those that ship, or run `expunge init DIR`.")
    try:
        return DataSettings.model_validate((yaml.safe_load(path.read_text()) or {}).get("data") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("data", *first["loc"])))
        raise UsageError(f"{path}: {where}: {first['msg']}.", "Mend it.") from error
    except (yaml.YAMLError, AttributeError) as error:
        raise UsageError(f"{path} holds no settings that can be read: {error}.", "Mend it.") from error
