"""What all materializers share: files with recorded hashes, verified on load, and a static page."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any, ClassVar

from zenml.enums import VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from adapters.runs import remember_failure
from expunge.errors import IntegrityError

INDEX = "index.json"
PAGE = "page.html"
# In the index while an artifact is being replaced: the hashes of the files as they were.
BEFORE = ".before"


class ArtifactMaterializer(BaseMaterializer):
    """Files of one artifact beside an index of their SHA-256, so that no changed byte is ever loaded."""

    SKIP_REGISTRATION: ClassVar[bool] = True

    _replacing = False

    def save(self, data: Any) -> None:
        """ZenML's entry: `write`, with a failure remembered (ZenML would replace it by its own)."""
        try:
            self.write(data)
        except Exception as error:
            remember_failure(error)
            raise

    def load(self, data_type: type[Any]) -> Any:
        """ZenML's entry: `read`, likewise."""
        try:
            return self.read(data_type)
        except Exception as error:
            remember_failure(error)
            raise

    def write(self, data: Any) -> None:
        """Store the artifact's files."""
        raise NotImplementedError

    def read(self, data_type: type[Any]) -> Any:
        """The artifact from its files."""
        raise NotImplementedError

    def write_files(self, files: dict[str, bytes]) -> None:
        """Write the artifact's files and their index."""
        index = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        if self._replacing:
            self._replace_files(files, index)
            return
        for name, content in {**files, INDEX: _json(index)}.items():
            with self.artifact_store.open(self._path(name), "wb") as stream:
                stream.write(content)

    def replace(self, data: Any) -> None:
        """Store other content in place of this artifact's, its pages too. Killed at any moment, it can be loaded:
        as it was or as it is now.
        """
        self._replacing = True
        try:
            self.write(data)
            self.save_visualizations(data)
        finally:
            self._replacing = False

    def _replace_files(self, files: dict[str, bytes], index: dict[str, str]) -> None:
        was = {name: digest for name, digest in json.loads(self._read(INDEX)).items() if name != BEFORE}
        self._put_whole(INDEX, _json({**index, BEFORE: was}))
        for name, content in files.items():
            self._put_whole(name, content)
        self._put_whole(INDEX, _json(index))

    def _put_whole(self, name: str, content: bytes) -> None:
        partial = self._path(f"{name}.partial")
        with self.artifact_store.open(partial, "wb") as stream:
            stream.write(content)
        self.artifact_store.rename(partial, self._path(name), overwrite=True)

    def read_file(self, name: str) -> bytes:
        """One file, verified. Raises IntegrityError naming it when it is missing or changed."""
        index = json.loads(self._read(INDEX))
        if name not in index:
            raise IntegrityError(f"{self._path(INDEX)} does not list {name}.", _REMEDY)
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() not in (index[name], index.get(BEFORE, {}).get(name)):
            raise IntegrityError(f"{self._path(name)} is not the file that was recorded.", _REMEDY)
        return content

    def read_json(self, name: str) -> Any:
        """One JSON file, verified."""
        return json.loads(self.read_file(name))

    def show(self, pages: dict[str, str]) -> dict[str, VisualizationType]:
        """Store static pages for the dashboard, by file name."""
        shown = {}
        for name, html in pages.items():
            with self.artifact_store.open(self._path(name), "w") as stream:
                stream.write(html)
            shown[self._path(name)] = VisualizationType.HTML
        return shown

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self.uri) / name)

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        if not self.artifact_store.exists(path):
            raise IntegrityError(f"{path} is missing.", _REMEDY)
        with self.artifact_store.open(path, "rb") as stream:
            content: bytes = stream.read()
        return content


_REMEDY = "Restore it from a backup, or run the pipeline that made it again."


def to_json(value: Any) -> bytes:
    """The one JSON form in which artifacts are stored."""
    return _json(value)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
