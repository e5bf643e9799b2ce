"""Does every kind of remote give checkpoints back, lose them when told to, and never count as empty when it is away?"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from places import SECRET, Bucket, Folder

from adapters.remotes import RemoteUnreachable
from expunge.errors import ExpungeError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of DVC's own library
ONE, TWO, THREE = b"1" * 2000, b"2" * 2000, b"3" * 2000


def test_what_is_lost_from_the_cache_comes_back(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    store.check_writable()
    assert place.held() == laboratory.cached() == set(), "the probe was removed"
    stored = store.add(laboratory.files(x=ONE, y=TWO))
    assert place.held() == laboratory.cached() == set(store.present(stored)) == set(stored.objects)
    laboratory.lose_cache()
    assert laboratory.read(stored) == {"x": ONE, "y": TWO}
    assert laboratory.cached() == set(stored.objects)


@pytest.mark.parametrize("place", ["folder", "bucket", "versioned bucket"], indirect=True)
def test_a_shared_file_stays_until_the_last_that_needs_it_goes(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    first = store.add(laboratory.files(x=ONE, y=TWO))
    second = store.add(laboratory.files(x=ONE, z=THREE))
    assert store.destroy(first) == ["x"]
    assert store.present(first) == [first.files["x"]]
    assert place.held() == laboratory.cached() == set(second.objects)
    laboratory.lose_cache()
    assert laboratory.read(second) == {"x": ONE, "z": THREE}
    assert store.destroy(second) == []
    assert place.held() == laboratory.cached() == set(store.present(second)) == set()
    assert store.trajectories() == []


def test_the_same_bytes_trained_twice_stay_until_both_are_destroyed(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    first = store.add(laboratory.files(x=ONE, y=TWO))
    second = store.add(laboratory.files(x=ONE, y=TWO))
    assert first == second
    assert store.destroy(first, needed=second.objects) == ["x", "y"]
    assert place.held() == laboratory.cached() == set(second.objects) and store.trajectories() == [second]
    assert store.destroy(second) == []
    assert place.held() == laboratory.cached() == set()


def test_what_another_needs_stays_even_if_its_directory_object_is_lost(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    first = store.add(laboratory.files(x=ONE, y=TWO))
    second = store.add(laboratory.files(x=ONE, z=THREE))
    (lost,) = (p for p in laboratory.project.dvc.rglob("*.dir") if second.dvc_hash == p.parent.name + p.name)
    lost.unlink()
    if isinstance(place, Folder):
        (place.folder / "files" / "md5" / second.dvc_hash[:2] / second.dvc_hash[2:]).unlink()
    else:
        place.server.client.delete_object(
            Bucket=place.name, Key=f"some/prefix/files/md5/{second.dvc_hash[:2]}/{second.dvc_hash[2:]}"
        )
    assert store.destroy(first) == ["x"]
    assert second.files["x"] in place.held() & laboratory.cached()


def test_a_remote_that_is_away_is_named_and_nothing_happens(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    stored = store.add(laboratory.files(x=ONE, y=TWO))
    more = laboratory.files(z=THREE)
    with place.down():
        for attempt in (
            store.check_writable,
            lambda: store.add(more),
            lambda: store.destroy(stored),
            lambda: store.present(stored),
            store.describe,
        ):
            started = time.monotonic()
            with pytest.raises(RemoteUnreachable) as refused:
                attempt()
            assert time.monotonic() - started < 20
            assert place.where in refused.value.message and refused.value.hint
        assert more["z"].read_bytes() == THREE
        assert laboratory.read(stored) == {"x": ONE, "y": TWO}, "what the cache has needs no remote"
    assert place.held() == laboratory.cached() == set(stored.objects)
    assert store.destroy(stored) == []
    assert place.held() == laboratory.cached() == set()


def test_a_remote_that_was_emptied_is_no_proof_and_can_be_repaired(place: Any, laboratory: Any) -> None:
    from adapters.storage_moves import repair

    store = laboratory.store(place.config)
    stored = store.add(laboratory.files(x=ONE, y=TWO))
    place.empty()
    for attempt in (lambda: store.present(stored), lambda: store.destroy(stored), store.check_writable):
        with pytest.raises(RemoteUnreachable, match="storage repair"):
            attempt()
    assert laboratory.cached() == set(stored.objects)
    done = repair(laboratory.project, [stored])
    assert (done.restored, done.lost) == (3, ())
    assert place.held() == set(stored.objects)
    assert store.destroy(stored) == [] and place.held() == set()


def test_a_repair_removes_what_an_old_backup_brought_back_and_names_what_is_lost(place: Any, laboratory: Any) -> None:
    from adapters.storage_moves import repair

    store = laboratory.store(place.config)
    erased = store.add(laboratory.files(x=ONE, y=TWO))
    kept = store.add(laboratory.files(x=ONE, z=THREE))
    store.destroy(erased)
    other = laboratory.store().project.dvc / ".dvc" / "cache" / "files" / "md5" / kept.files["z"][:2]
    (other / kept.files["z"][2:]).unlink()
    if isinstance(place, Folder):
        at = place.folder / "files" / "md5"
        (at / kept.files["z"][:2] / kept.files["z"][2:]).unlink()
        (at / erased.files["y"][:2] / erased.files["y"][2:]).write_bytes(TWO)
    else:
        at = "some/prefix/files/md5"
        for entry in place.entries("Versions"):
            if entry["Key"].endswith(kept.files["z"][2:]):
                place.server.client.delete_object(Bucket=place.name, Key=entry["Key"], VersionId=entry["VersionId"])
        md5 = erased.files["y"]
        place.server.client.put_object(Bucket=place.name, Key=f"{at}/{md5[:2]}/{md5[2:]}", Body=TWO)
    assert erased.files["y"] in place.held()
    done = repair(laboratory.project, [kept])
    assert (done.restored, done.removed) == (0, 1)
    assert done.lost == (f"z of {kept.dvc_hash}",)
    assert erased.files["y"] not in place.held()


ADD = """
import sys
from pathlib import Path
from adapters.checkpoint_store import CheckpointStore
from adapters.project import current_project
files = {path.name: path for path in Path(sys.argv[1]).iterdir()}
CheckpointStore(current_project()).add(files)
"""


KILLED_PROBE = """
import os, signal
from adapters import remotes
from adapters.checkpoint_store import CheckpointStore
from adapters.project import current_project
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
remotes.FolderRemote.remove = remotes.BucketRemote.remove = die
CheckpointStore(current_project()).check_writable()
"""


def test_the_probe_of_a_killed_process_goes_with_the_next(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    kept = store.add(laboratory.files(x=ONE))
    clone = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED_PROBE], cwd=clone, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert place.held() != set(kept.objects), "the kill came before the probe was removed"
    store.check_writable()
    assert place.held() == laboratory.cached() == set(kept.objects)


def test_what_a_killed_process_had_pushed_goes_with_the_next_call(place: Any, laboratory: Any) -> None:
    store = laboratory.store(place.config)
    kept = store.add(laboratory.files(x=ONE))
    files = laboratory.files(x=ONE, **{f"y{i}": bytes([i]) * 300_000 for i in range(30)})
    clone = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", ADD, str(files["x"].parent)], cwd=clone)
    deadline = time.monotonic() + 60
    while place.held() == set(kept.objects):
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert place.held() > set(kept.objects), "the kill came in the middle"
    store.check_writable()
    assert place.held() == laboratory.cached() == set(kept.objects)
    assert store.trajectories() == [kept]
    again = store.add(files)
    assert place.held() == laboratory.cached() == {*kept.objects, *again.objects}


def test_another_projects_remote_is_refused(place: Any, laboratory: Any, tmp_path: Path) -> None:
    from adapters.checkpoint_store import CheckpointStore
    from adapters.project import Project

    laboratory.store(place.config).add(laboratory.files(x=ONE))
    other = Project(tmp_path / "other")
    other.root.mkdir()
    with pytest.raises(UsageError, match="belongs to another project"):
        CheckpointStore(other, place.config).check_writable()
    alone = tmp_path / "other-remote"
    CheckpointStore(other, place.config.model_validate({"remote": str(alone)})).check_writable()


def test_what_is_not_ours_is_not_taken(laboratory: Any, tmp_path: Path) -> None:
    remote = Folder(tmp_path / "remote")
    theirs = remote.folder / "files" / "md5" / "ab" / ("c" * 30)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(ONE)
    with pytest.raises(UsageError, match="not this project's"):
        laboratory.store(remote.config).check_writable()
    theirs.unlink()
    laboratory.store(remote.config).check_writable()


def test_old_versions_behind_a_deletion_are_found_and_destroyed(server: Any, laboratory: Any) -> None:
    place = Bucket(server, versioned=True)
    store = laboratory.store(place.config)
    stored = store.add(laboratory.files(x=ONE))
    key = f"some/prefix/files/md5/{stored.files['x'][:2]}/{stored.files['x'][2:]}"
    server.client.put_object(Bucket=place.name, Key=key, Body=ONE)
    server.client.delete_object(Bucket=place.name, Key=key)
    assert len([e for e in place.entries("Versions") if e["Key"] == key]) == 2
    laboratory.lose_cache()
    assert stored.files["x"] in store.present(stored)
    store.destroy(stored)
    assert [e["Key"] for e in place.entries("Versions", "DeleteMarkers")] == ["some/prefix/expunge.json"]


def test_an_unfinished_upload_is_destroyed_too(server: Any, laboratory: Any) -> None:
    place = Bucket(server)
    store = laboratory.store(place.config)
    stored = store.add(laboratory.files(x=ONE))
    key = f"some/prefix/files/md5/{stored.files['x'][:2]}/{stored.files['x'][2:]}"
    upload = server.client.create_multipart_upload(Bucket=place.name, Key=key)["UploadId"]
    server.client.upload_part(Bucket=place.name, Key=key, UploadId=upload, PartNumber=1, Body=ONE)
    assert server.client.list_multipart_uploads(Bucket=place.name)["Uploads"]
    store.destroy(stored)
    assert not server.client.list_multipart_uploads(Bucket=place.name).get("Uploads")
    assert store.present(stored) == []


def test_a_bucket_that_forbids_deletion_is_refused_before_any_work(server: Any, laboratory: Any) -> None:
    place = Bucket(server, ObjectLockEnabledForBucket=True)
    server.client.put_object_lock_configuration(
        Bucket=place.name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    with pytest.raises(ExpungeError, match="DeleteObject"):
        laboratory.store(place.config).check_writable()


def test_keys_are_asked_for_and_never_written(server: Any, laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import moto.settings

    place = Bucket(server)
    store = laboratory.store(place.config)
    stored = store.add(laboratory.files(x=ONE))
    assert not [p for p in laboratory.root.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    with monkeypatch.context() as wrong:
        wrong.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        with pytest.raises(RemoteUnreachable, match="credentials are right"):
            store.destroy(stored)
    with monkeypatch.context() as none:
        none.delenv("AWS_SECRET_ACCESS_KEY")
        none.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(RemoteUnreachable, match="AWS_ACCESS_KEY_ID"):
            store.destroy(stored)
    assert place.held() == laboratory.cached() == set(stored.objects)
    store.destroy(stored)
    assert place.held() == set()
