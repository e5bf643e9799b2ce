"""Do checkpoints come back when the cache is lost, and does one changed byte stop a load?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

demo_group = pytest.mark.xdist_group("demo")


def _stored(house: Any) -> dict[str, str]:
    """MD5 by file of the checkpoints of the model that serves."""
    (serving,) = house.versions("production")
    trajectory = next(
        a for a in house.artifacts("trajectory") if a["facts"].get("model_version") == f"digits-mlp {serving}"
    )
    return dict(json.loads((trajectory["uri"] / "dvc.json").read_text())["files"])


@demo_group
def test_a_lost_cache_comes_back_from_the_remote(demo: Any) -> None:
    files = _stored(demo.house)
    shutil.rmtree(demo.house.state / "dvc" / ".dvc" / "cache")
    planned = demo.house.run("plan", "hardest:0.05", "--json").json()
    assert planned["forget_records"] > 50 and planned["predicted_steps"] > 0
    assert all(demo.house.cached(md5).is_file() for md5 in files.values())


@demo_group
def test_a_changed_checkpoint_stops_the_load_by_name(demo: Any, changed: Any) -> None:
    files = _stored(demo.house)
    name = sorted(files)[len(files) // 2]
    before = demo.house.counts()
    with changed(demo.house.cached(files[name])) as path:
        refused = demo.house.run("plan", "hardest:0.05", code=5)
        assert name in refused.err and str(path) in refused.err
        doctor = demo.house.run("doctor", "--json", code=5).json()
        assert [check["ok"] for check in doctor if check["name"] == "production model"] == [False]
    after = demo.house.counts()
    assert (after["head"], after["models"]) == (before["head"], before["models"])
    demo.house.run("plan", "hardest:0.05", "--json")


@demo_group
def test_a_changed_checkpoint_is_replaced_as_the_message_says(demo: Any) -> None:
    files = _stored(demo.house)
    name = min(files)
    path = demo.house.cached(files[name])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    refused = demo.house.run("plan", "random:30", code=5)
    assert "Delete that file" in refused.err
    path.unlink()
    demo.house.run("plan", "random:30")
    assert path.read_bytes() == demo.house.remote(files[name]).read_bytes()


@demo_group
def test_a_checkpoint_lost_everywhere_is_named(demo: Any) -> None:
    files = _stored(demo.house)
    name = sorted(files)[2]
    cached, remote = demo.house.cached(files[name]), demo.house.remote(files[name])
    content = cached.read_bytes()
    cached.unlink()
    remote.rename(remote.with_suffix(".away"))
    try:
        refused = demo.house.run("plan", "hardest:0.05", code=5)
        assert name in refused.err and "nor in the remote" in refused.err
    finally:
        remote.with_suffix(".away").rename(remote)
        cached.write_bytes(content)


@demo_group
def test_a_changed_model_file_stops_its_load(demo: Any, changed: Any) -> None:
    (serving,) = demo.house.versions("production")
    model = next(a for a in demo.house.artifacts("model") if a["facts"].get("model_version") == f"digits-mlp {serving}")
    with changed(model["uri"] / "model.safetensors") as path:
        found = demo.house.run("doctor", "--json", code=5).json()
        words = next(check["words"] for check in found if check["name"] == "production model")
        assert str(path) in words


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Mounts a file system of that size over a folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_records_nothing_and_more_room_cures_it(
    new_house: Callable[..., Any], small_disk: Callable[[Path, str], None]
) -> None:
    house = new_house("full")
    disk = house.state / "dvc"
    small_disk(disk, "160k")
    refused = house.run("train", "-c", house.scenario, code=1)
    assert str(disk) in refused.err and "is full" in refused.err and "Make room" in refused.err
    assert house.versions() == {} and house.artifacts("trajectory") == [] and house.artifacts("model") == []
    assert house.objects() == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    trained = house.run("train", "-c", house.scenario, "--json").json()
    assert trained["stage"] == "production"
    assert len(house.artifacts("trajectory")) == 1
