"""What is finished already? Parts of a scenario on disk, each whole or absent, and how far all of it has come."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = dict[str, NDArray[Any]]
Report = Callable[[str, int, int], None]
# Goes up when the code computes parts otherwise than before: old parts are then left alone, and made again.
FORMAT = 1
_SECONDS, _CODE = "seconds taken", "code"


class Work:
    """Parts below `folder`, under a hash of what they depend on; killed at any moment, finished parts stay.

    Args:
        report: told (what is running, units done, units in all). The units are the scenario's own measure of work,
            models trained say, so that the time left can be told from them.
        code: the revision that is running, kept with every part that it makes.

    Attributes:
        seconds: what the parts that were there already had taken when they were made.
        made_by: the revisions that made the parts asked for so far; "" for one that was not told its own.
    """

    def __init__(
        self, folder: Path, name: str, depends: Mapping[str, Any], report: Report | None = None, code: str = ""
    ) -> None:
        text = json.dumps([FORMAT, dict(depends)], sort_keys=True, default=str)
        self.folder = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._name, self._report, self._code = name, report, code
        self.made_by: set[str] = set()
        self.seconds = 0.0
        self._total, self._done = 0, 0

    def expect(self, units: int) -> None:
        """So many units more are to come, finished ones included."""
        self._total += units

    def get(self, name: str, make: Callable[[], Part], units: int = 0) -> Part:
        """The arrays of a part; made, and written whole, where they are not there yet.

        units: what the part counts of the units expected.
        """
        file = self.folder / f"{name}.npz"
        if not file.is_file():
            self._say()
            started = time.monotonic()
            made = make()
            taken = np.array(time.monotonic() - started)
            partial = self.folder / f"{name}.partial.npz"
            np.savez(partial, **{**made, _SECONDS: taken, _CODE: np.array(self._code)})  # type: ignore[arg-type]
            partial.replace(file)
            self._done += units
            self._say()
            self.made_by.add(self._code)
            return made
        self._total -= units
        with np.load(file, allow_pickle=False) as stored:
            self.seconds += float(stored[_SECONDS])
            self.made_by.add(str(stored[_CODE]) if _CODE in stored.files else "")
            return {key: stored[key] for key in stored.files if key not in (_SECONDS, _CODE)}

    def place(self, name: str) -> Path:
        """A folder for what resumes by itself, a trajectory say; `clear` removes it."""
        path = self.folder / "work" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def clear(self) -> None:
        """Remove the weights. Parts stay, so that a second run trains the originals alone."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)

    def _say(self) -> None:
        if self._report is not None:
            self._report(self._name, self._done, max(1, self._total))
