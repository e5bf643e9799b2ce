"""What does a DVC remote really hold, and can it be made to forget? A folder, or a bucket with its old versions.

Objects move through DVC's object databases (`odb`). What DVC does not see, old versions and unfinished uploads of a
bucket, is listed and removed through the same connection.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from adapters.disk_errors import REFUSALS, disk_errors
from expunge.errors import ExpungeError
from expunge.storage import StorageConfig

SECONDS = 15  # until the first answer of a bucket: its servers may swallow connections without a word


class RemoteUnreachable(ExpungeError):
    """The remote cannot be used now; what it holds is not known."""


class Remote(Protocol):
    """Where copies of objects lie. Every method raises RemoteUnreachable where the remote does not answer.

    Names are paths as the odb has them.
    """

    where: str
    odb: Any

    def read(self, name: str) -> bytes | None:
        """A small file beside the objects; None where there is none."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write the object at this path of the odb."""
        ...

    def path(self, name: str) -> str:
        """The path of a small file beside the objects."""
        ...

    def names(self) -> set[str]:
        """Every object, with those of which only old versions or unfinished uploads are left."""
        ...

    def remove(self, names: Collection[str]) -> None:
        """Remove these, with all their versions, and see that they are gone. What is not there is passed over."""
        ...

    def remark(self) -> str:
        """What is special about it, for `doctor`."""
        ...

    def reaching(self, disk: Path | None = None) -> AbstractContextManager[None]:
        """Errors of its odb inside this are raised as those of the other methods; `disk` is written to meanwhile."""
        ...


def open_remote(storage: StorageConfig, folder: Path) -> Remote:
    """The remote of this section; `folder` is where it lies when it is no bucket. Nothing is contacted yet."""
    if storage.is_bucket:
        return BucketRemote(storage)
    return FolderRemote(folder)


def dvc_options(storage: StorageConfig, folder: Path) -> dict[str, str]:
    """The remote in DVC's own words, as in its configuration. Never a key."""
    if not storage.is_bucket:
        return {"url": str(folder)}
    options = {
        "url": storage.remote,
        "endpointurl": storage.endpoint_url,
        "region": storage.region,
        "profile": storage.profile,
        "connect_timeout": storage.connect_timeout,
        "read_timeout": storage.read_timeout,
    }
    return {name: str(value) for name, value in options.items() if value is not None}


def _odb(options: dict[str, str], **connection: Any) -> Any:
    from dvc.data_cloud import Remote as DvcRemote
    from dvc.fs import get_cloud_fs

    kind, config, path = get_cloud_fs({}, **options)
    filesystem = kind(**config)
    for section, values in connection.items():
        filesystem.fs_args.setdefault(section, {}).update(values)
    return DvcRemote("store", path, filesystem, **config).odb


@lru_cache(maxsize=4)
def _bucket_odb(storage: StorageConfig, environment: frozenset[tuple[str, str]]) -> Any:
    """One connection for a process, as long as AWS's variables stay: making one takes a third of a second."""
    # One more try, not DVC's twenty-five: a server that is down must be named in seconds.
    odb = _odb(dvc_options(storage, Path()), config_kwargs={"retries": {"total_max_attempts": 2, "mode": "standard"}})
    odb.fs.fs.retries = 1
    return odb


class FolderRemote:
    """A folder of this machine, or of a disk that is mounted here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        self.odb = _odb({"url": str(folder)})

    def read(self, name: str) -> bytes | None:
        with self.reaching():
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        with self.reaching():
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".tmp")
            try:
                partial.write_bytes(content)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def names(self) -> set[str]:
        with self.reaching():
            return files_below(self.odb.path)

    def remove(self, names: Collection[str]) -> None:
        with self.reaching():
            for name in names:
                Path(name).unlink(missing_ok=True)

    def remark(self) -> str:
        return "a folder"

    @contextmanager
    def reaching(self, disk: Path | None = None) -> Iterator[None]:
        with disk_errors(disk or self.folder):
            try:
                yield
            except OSError as error:
                if error.errno in REFUSALS:
                    raise
                raise RemoteUnreachable(
                    f"The DVC remote {self.where} cannot be used: {error.strerror or error}.",
                    "Bring it back (is its disk mounted?), then run the command again; nothing was recorded.",
                ) from error


class BucketRemote:
    """An S3 bucket below a prefix, with everything that lies behind its objects."""

    def __init__(self, storage: StorageConfig) -> None:
        assert storage.remote is not None
        self.where = storage.remote
        if storage.endpoint_url:
            self.where += f" at {storage.endpoint_url}"
        self.bucket, _, self.prefix = storage.remote.removeprefix("s3://").partition("/")
        try:
            import s3fs  # noqa: F401
        except ImportError:
            raise ExpungeError("An s3:// remote needs DVC's S3 part.", 'Install it: pip install ".[s3]".') from None
        with self.reaching():
            variables = {(name, value) for name, value in os.environ.items() if name.startswith("AWS_")}
            self.odb = _bucket_odb(storage, frozenset(variables))

    def read(self, name: str) -> bytes | None:
        key = self._key(self.path(name))
        with self.reaching():
            # Listed, not asked for: without the right to list, S3 answers "forbidden" for what is merely missing.
            if not any(f["Key"] == key for f in self._call("list_objects_v2", Prefix=key).get("Contents", [])):
                return None
            return bytes(self._await("_cat_file", self.path(name)))

    def write(self, path: str, content: bytes) -> None:
        with self.reaching():
            self._call("put_object", Key=self._key(path), Body=content)

    def path(self, name: str) -> str:
        return "/".join(part for part in (self.bucket, self.prefix, name) if part)

    def names(self) -> set[str]:
        with self.reaching():
            return self._below(self._key(self.odb.path) + "/")

    def remove(self, names: Collection[str]) -> None:
        with self.reaching():
            for name in sorted(names):
                key = self._key(name)
                for found in self._all("list_object_versions", ("Versions", "DeleteMarkers"), key):
                    if found["Key"] == key:
                        self._call("delete_object", Key=key, VersionId=found["VersionId"])
                for found in self._all("list_multipart_uploads", ("Uploads",), key):
                    if found["Key"] == key:
                        self._call("abort_multipart_upload", Key=key, UploadId=found["UploadId"])
                if self.path_of(key) in self._below(key):
                    raise ExpungeError(
                        f"The DVC remote {self.where} still holds {key} after it was deleted.",
                        "Look for a retention rule (Object Lock, legal hold) on the bucket, then run it again.",
                    )
        self.odb.fs.fs.invalidate_cache()

    def remark(self) -> str:
        with self.reaching():
            status = self._call("get_bucket_versioning").get("Status")
        kept = "keeps old versions: every one is destroyed" if status else "keeps no old versions"
        return f"a bucket that {kept}"

    def path_of(self, key: str) -> str:
        return f"{self.bucket}/{key}"

    def _key(self, path: str) -> str:
        return path.removeprefix(self.bucket + "/")

    def _below(self, prefix: str) -> set[str]:
        found = {v["Key"] for v in self._all("list_object_versions", ("Versions",), prefix)}
        found |= {u["Key"] for u in self._all("list_multipart_uploads", ("Uploads",), prefix)}
        return {self.path_of(key) for key in found}

    def _all(self, method: str, kinds: tuple[str, ...], prefix: str) -> list[dict[str, Any]]:
        """Every entry of a listing, over all its pages."""
        found: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        while True:
            page = self._call(method, Prefix=prefix, **marker)
            found += [entry for kind in kinds for entry in page.get(kind) or ()]
            if not page.get("IsTruncated"):
                return found
            names = ("KeyMarker", "VersionIdMarker", "UploadIdMarker")
            marker = {name: page[f"Next{name}"] for name in names if page.get(f"Next{name}")}

    def _call(self, method: str, **parameters: Any) -> Any:
        return self._await("_call_s3", method, Bucket=self.bucket, **parameters)

    def _await(self, method: str, *arguments: Any, **parameters: Any) -> Any:
        from fsspec.asyn import sync

        filesystem = self.odb.fs.fs
        return sync(filesystem.loop, getattr(filesystem, method), *arguments, timeout=SECONDS, **parameters)

    @contextmanager
    def reaching(self, disk: Path | None = None) -> Iterator[None]:
        with disk_errors(disk) if disk else nullcontext(), bucket_errors(self.where):
            yield


@contextmanager
def bucket_errors(where: str) -> Iterator[None]:
    """Say in one line what S3 would not do."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

    try:
        yield
    except ExpungeError:
        raise
    except (OSError, BotoCoreError, ClientError) as error:
        hint = "Nothing was recorded: run the command again when it answers."
        cause = _first_cause(error)
        if cause is error and isinstance(error, OSError) and error.errno in REFUSALS:
            raise  # of a disk here
        if isinstance(cause, NoCredentialsError | ProfileNotFound):
            what = "has no credentials here"
            hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, then run the command again."
        elif isinstance(cause, ClientError):
            code = cause.response.get("Error", {}).get("Code", "")
            what = f"refuses {cause.operation_name} ({code})"
            if code == "NoSuchBucket":
                what, hint = "has no such bucket", "Create the bucket, or mend storage.remote in the settings."
            elif code not in ("InternalError", "ServiceUnavailable", "SlowDown", "500", "503"):
                hint = "See that the credentials are right and may read, write, list and delete objects and versions."
        else:
            what = f"does not answer ({type(cause).__name__})"
        raise RemoteUnreachable(f"The DVC remote {where} {what}.", hint) from error


def _first_cause(error: BaseException) -> BaseException:
    """What S3's own library said, below the words that others put round it."""
    from botocore.exceptions import BotoCoreError, ClientError

    at: BaseException | None = error
    while at is not None:
        if isinstance(at, BotoCoreError | ClientError):
            return at
        at = at.__cause__ or at.__context__
    return error


def files_below(folder: str | os.PathLike[str]) -> set[str]:
    """Every file below a folder; none where there is no folder. Raises OSError where it cannot be read."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found = os.walk(folder, onerror=fail)
    return {f"{at}{os.sep}{name}" for at, _, names in found for name in names}
