"""A store in a project of its own, on a remote of each kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import SECRET, Bucket, Folder, Laboratory, Server

from adapters.project import VARIABLE


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS's keys are in the environment, and nowhere else."""
    for name in [*os.environ]:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.stop()


@pytest.fixture(params=["folder", "versioned bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A remote: a folder, and a bucket that keeps old versions unless a test asks for "bucket"."""
    if request.param == "folder":
        return Folder(tmp_path / "disk" / "remote")
    return Bucket(request.getfixturevalue("server"), versioned=request.param.startswith("versioned"))


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv(VARIABLE, str(root))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site-cache"))
    return Laboratory(root)
