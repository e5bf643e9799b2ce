"""Where do checkpoint bytes lie besides the cache? The `storage` section of a scenario."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class StorageConfig(BaseModel):
    """The remote that keeps a second copy of every checkpoint.

    remote: null is a folder of the project's state; else a folder (relative to the project) or `s3://bucket/prefix`,
    which this project alone uses. endpoint_url, region, profile: of S3. Keys are never settings: they come from AWS's
    environment variables and files. connect_timeout, read_timeout: seconds until a silent server counts as down.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    remote: str | None = Field(default=None, min_length=1)
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    connect_timeout: int = Field(default=5, ge=1)
    read_timeout: int = Field(default=30, ge=1)

    @property
    def is_bucket(self) -> bool:
        return bool(self.remote and self.remote.startswith("s3://"))

    @field_validator("remote", "endpoint_url")
    @classmethod
    def _holds_no_key(cls, value: str | None) -> str | None:
        if value and "://" in value and "@" in urlsplit(value).netloc:
            raise ValueError("an address must not hold credentials: use AWS's environment variables or files")
        return value

    @field_validator("remote")
    @classmethod
    def _known_kind(cls, value: str | None) -> str | None:
        if value and "://" in value:
            scheme, _, rest = value.partition("://")
            if scheme != "s3":
                raise ValueError(f"{scheme}:// is not supported: use a folder or s3://bucket/prefix")
            if not rest.strip("/"):
                raise ValueError("s3:// needs a bucket: s3://bucket/prefix")
            return value.rstrip("/")
        return value

    @model_validator(mode="after")
    def _options_of_a_bucket(self) -> Self:
        if not self.is_bucket and (self.endpoint_url or self.region or self.profile):
            raise ValueError("endpoint_url, region and profile are options of an s3:// remote")
        return self
