"""Does a change of remote leave anything where no purge would look?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from places import Bucket, Folder

from adapters.remotes import RemoteUnreachable
from adapters.storage_moves import move
from expunge.errors import UsageError
from expunge.storage import StorageConfig

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of DVC's own library
ONE, TWO = b"1" * 2000, b"2" * 2000


def test_a_changed_setting_is_refused_until_the_bytes_have_moved(server: Any, laboratory: Any, tmp_path: Path) -> None:
    folder, bucket = Folder(tmp_path / "remote"), Bucket(server, versioned=True)
    stored = laboratory.store(folder.config).add(laboratory.files(x=ONE, y=TWO))
    for attempt in (
        lambda: laboratory.store(bucket.config).check_writable(),
        lambda: laboratory.store(bucket.config).add(laboratory.files(z=b"3")),
    ):
        with pytest.raises(UsageError, match="expunge storage move") as refused:
            attempt()
        assert folder.where in refused.value.message and bucket.where in refused.value.message
    assert folder.held() == set(stored.objects) and bucket.held() == set()
    done = move(laboratory.project, bucket.config)
    assert (done.objects, done.removed) == (3, 3)
    assert bucket.held() == set(stored.objects) and not any(p.is_file() for p in folder.folder.rglob("*"))
    store = laboratory.store(bucket.config)
    laboratory.lose_cache()
    assert laboratory.read(stored) == {"x": ONE, "y": TWO}
    laboratory.lose_cache()
    move(laboratory.project, folder.config)
    assert folder.held() == set(stored.objects) and bucket.entries("Versions", "DeleteMarkers") == []
    store = laboratory.store(folder.config)
    assert laboratory.read(stored) == {"x": ONE, "y": TWO}
    store.destroy(stored)
    assert folder.held() == set()


def test_options_that_name_no_other_place_change_freely(server: Any, laboratory: Any) -> None:
    bucket = Bucket(server)
    stored = laboratory.store(bucket.config).add(laboratory.files(x=ONE))
    patient = bucket.config.model_copy(update={"read_timeout": 60, "region": "us-east-1"})
    assert laboratory.store(patient).present(stored) == stored.objects
    assert "read_timeout = 60" in (laboratory.project.dvc / ".dvc" / "config").read_text()


def test_a_move_needs_both_ends(server: Any, laboratory: Any, tmp_path: Path) -> None:
    folder, bucket = Folder(tmp_path / "disk" / "remote"), Bucket(server)
    stored = laboratory.store(folder.config).add(laboratory.files(x=ONE))
    with folder.down(), pytest.raises(RemoteUnreachable, match="--lost"):
        move(laboratory.project, bucket.config)
    with bucket.down(), pytest.raises(RemoteUnreachable):
        move(laboratory.project, bucket.config)
    assert bucket.held() == set()
    assert laboratory.store(folder.config).present(stored) == stored.objects
    with folder.down():
        assert move(laboratory.project, bucket.config, lost=True).removed == 0
    assert laboratory.store(bucket.config).present(stored) == stored.objects
    assert bucket.held() == set(stored.objects)


def test_lost_is_no_way_round_a_remote_that_answers(laboratory: Any, tmp_path: Path) -> None:
    old, new = Folder(tmp_path / "old"), Folder(tmp_path / "new")
    laboratory.store(old.config).add(laboratory.files(x=ONE))
    move(laboratory.project, new.config, lost=True)
    assert old.held() == set() and new.held()


def test_a_move_that_could_not_empty_the_old_remote_is_not_done(laboratory: Any, tmp_path: Path, server: Any) -> None:
    locked = Bucket(server, ObjectLockEnabledForBucket=True)
    stored = laboratory.store(locked.config).add(laboratory.files(x=ONE))
    key = next(e["Key"] for e in locked.entries("Versions") if stored.files["x"][2:] in e["Key"])
    server.client.put_object_legal_hold(Bucket=locked.name, Key=key, LegalHold={"Status": "ON"})
    folder = Folder(tmp_path / "remote")
    with pytest.raises(RemoteUnreachable, match="DeleteObject"):
        move(laboratory.project, folder.config)
    store = laboratory.store(folder.config)
    assert folder.held() == set(stored.objects), "in use already"
    assert "still to be emptied" in store.describe()
    with pytest.raises(RemoteUnreachable, match="DeleteObject"):
        store.destroy(stored)
    assert stored.files["x"] in store.present(stored), "also where it has not left yet"
    server.client.put_object_legal_hold(Bucket=locked.name, Key=key, LegalHold={"Status": "OFF"})
    move(laboratory.project, folder.config)
    assert locked.held() == set() and "emptied" not in store.describe()


def test_a_new_address_of_the_same_remote_moves_nothing(laboratory: Any, tmp_path: Path) -> None:
    old = Folder(tmp_path / "disk" / "remote")
    stored = laboratory.store(old.config).add(laboratory.files(x=ONE))
    (tmp_path / "alias").symlink_to(tmp_path / "disk")
    alias = StorageConfig(remote=str(tmp_path / "alias" / "remote"))
    assert laboratory.store(alias).present(stored) == stored.objects, "a link leads to the same place"
    (tmp_path / "disk").rename(tmp_path / "disk2")
    new = Folder(tmp_path / "disk2" / "remote")
    with pytest.raises(UsageError, match="marker"):
        move(laboratory.project, Folder(tmp_path / "elsewhere").config, renamed=True)
    with pytest.raises(RemoteUnreachable, match="--renamed"):
        move(laboratory.project, new.config)
    assert move(laboratory.project, new.config, renamed=True).removed == 0
    assert laboratory.store(new.config).present(stored) == stored.objects == laboratory.store().present(stored)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"remote": "s3://key:secret@bucket/x"}, "credentials"),
        ({"remote": "s3://bucket", "endpoint_url": "https://key:secret@host"}, "credentials"),
        ({"remote": "gs://bucket/x"}, "not supported"),
        ({"remote": "s3://"}, "needs a bucket"),
        ({"remote": "folder", "region": "eu-west-1"}, "options of an s3"),
        ({"remote": "s3://bucket", "secret_access_key": "x"}, "Extra inputs"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused(section: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StorageConfig.model_validate(section)
    assert StorageConfig(remote="s3://bucket/x/").remote == "s3://bucket/x"
