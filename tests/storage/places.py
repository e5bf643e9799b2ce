"""Remotes of every kind, looked at behind the store's back, and broken; and a project without models to use them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import boto3

from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.project import Project
from expunge.storage import StorageConfig

SECRET = "a-key-that-no-file-may-hold"


class Server:
    """moto's S3 server in a thread: stopped and started again, it still knows its buckets."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._make: Callable[[int], Any] = lambda port: ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self.server = self._make(0)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]
        self._numbers = count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="looking-in",
            aws_secret_access_key="looking-in",
        )

    def new_bucket(self, versioned: bool = False, **options: Any) -> str:
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name, **options)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    @contextmanager
    def down(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server = self._make(self.port)
            self.server.start()


class Folder:
    """A folder outside the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = StorageConfig(remote=str(folder))
        self.where = str(folder)

    def held(self) -> set[str]:
        """The object ids whose bytes are there."""
        files = self.folder / "files" / "md5"
        return {p.parent.name + p.name for p in files.rglob("*") if p.is_file()} if files.is_dir() else set()

    def empty(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    @contextmanager
    def down(self) -> Iterator[None]:
        away = self.folder.with_name("away")
        self.folder.rename(away)
        try:
            yield
        finally:
            away.rename(self.folder)


class Bucket:
    """A prefix of a bucket."""

    def __init__(self, server: Server, versioned: bool = False, **options: Any) -> None:
        self.server = server
        self.name = server.new_bucket(versioned, **options)
        self.config = StorageConfig(remote=f"s3://{self.name}/some/prefix", endpoint_url=server.url)
        self.where = f"s3://{self.name}/some/prefix"

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        listed = self.server.client.list_object_versions(Bucket=self.name)
        assert not listed["IsTruncated"]
        return [entry for kind in kinds for entry in listed.get(kind, [])]

    def held(self) -> set[str]:
        """The object ids of which any version is there."""
        keys = [entry["Key"] for entry in self.entries("Versions")]
        return {"".join(key.rsplit("/", 2)[1:]) for key in keys if "/files/md5/" in key}

    def empty(self) -> None:
        for entry in self.entries("Versions", "DeleteMarkers"):
            self.server.client.delete_object(Bucket=self.name, Key=entry["Key"], VersionId=entry["VersionId"])

    @contextmanager
    def down(self) -> Iterator[None]:
        with self.server.down():
            yield


class Laboratory:
    """A project without models: a store, and files to put into it."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)
        self.root = root
        self._numbers = count()

    def store(self, config: StorageConfig | None = None) -> CheckpointStore:
        return CheckpointStore(self.project, config)

    def files(self, **contents: bytes) -> dict[str, Path]:
        folder = self.root / f"files-{next(self._numbers)}"
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return {name: folder / name for name in contents}

    def cached(self) -> set[str]:
        files = self.project.dvc / ".dvc" / "cache" / "files" / "md5"
        return {p.parent.name + p.name for p in files.rglob("*") if p.is_file()} if files.is_dir() else set()

    def lose_cache(self) -> None:
        shutil.rmtree(self.project.dvc / ".dvc" / "cache")

    def read(self, stored: StoredDirectory) -> dict[str, bytes]:
        folder = self.store().check_out(stored)
        return {path.name: path.read_bytes() for path in folder.iterdir()}
