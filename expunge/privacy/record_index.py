"""Where is a record in a table? Ids to rows, with one wording for unknown and repeated ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from expunge.errors import NotFoundError, UsageError

_SHOWN = 5


class RecordIndex:
    """Rows of record ids.

    Raises:
        UsageError: an id that occurs twice.
    """

    def __init__(self, record_ids: Sequence[str]) -> None:
        refuse_repeats(record_ids)
        self._row = {record_id: row for row, record_id in enumerate(record_ids)}

    def positions(self, record_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Rows of the given ids, in their order.

        Raises:
            NotFoundError: unknown ids; the first few are named, with the known id nearest to the first.
            UsageError: one string instead of a list of them.
        """
        if isinstance(record_ids, str):
            raise UsageError(f"Expected a list of record ids; got the text {record_ids!r}.")
        wanted = list(record_ids)
        unknown = [record_id for record_id in wanted if record_id not in self._row]
        if unknown:
            close = get_close_matches(str(unknown[0]), self._row, n=1, cutoff=0.4)
            raise NotFoundError(
                f"{len(unknown)} of {len(wanted)} record ids are unknown: {first_few(unknown)}.",
                f"{f'Did you mean {close[0]!r}? ' if close else ''}"
                "Record ids come from the data the model was trained on.",
            )
        return np.array([self._row[record_id] for record_id in wanted], dtype=np.int64)

    def others(self, record_ids: Collection[str]) -> npt.NDArray[np.int64]:
        """Rows of all records but the given ones, ascending. Raises as `positions`."""
        kept = np.ones(len(self._row), dtype=bool)
        kept[self.positions(record_ids)] = False
        return np.flatnonzero(kept)


def refuse_repeats(record_ids: Sequence[str]) -> None:
    """Raises UsageError, naming the first few, where an id occurs twice."""
    if len(set(record_ids)) != len(record_ids):
        repeated = [record_id for record_id, count in Counter(record_ids).items() if count > 1]
        raise UsageError(f"Record ids occur more than once: {first_few(repeated)}.", "Name each record once.")


def first_few(record_ids: Sequence[str]) -> str:
    """The first five ids, and how many more."""
    more = f" and {len(record_ids) - _SHOWN} more" if len(record_ids) > _SHOWN else ""
    return ", ".join(repr(record_id) for record_id in record_ids[:_SHOWN]) + more
