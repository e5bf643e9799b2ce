"""What is a training record? The RecordTable: features, target, a stable record id and the subject who owns it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.errors import NotFoundError, UsageError


def places_of(record_ids: Iterable[str], position: Mapping[str, int], where: str, advice: str) -> NDArray[np.int64]:
    """Position of each id, in their order. Raises NotFoundError naming the unknown ones."""
    wanted = list(record_ids)
    unknown = [r for r in wanted if r not in position]
    if unknown:
        named = f"{', '.join(map(repr, unknown[:3]))}{' ...' if len(unknown) > 3 else ''}"
        raise NotFoundError(f"Unknown record {named} in {where}.", advice)
    return np.array([position[r] for r in wanted], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class RecordTable:
    """Records sorted by record id, so that the order of rows in a source never matters.

    Attributes:
        features: float32 [n, ...] or int64 [n, ...] (token ids).
        targets: int64 [n], each in 0..classes-1.
        record_ids: n stable strings that come from the data, never row numbers.
        subject_ids: n strings; one subject may own several records.
        classes: number of classes.
        name: the loader's name; `source`: what is needed to load it again (loader name and options).
        image_shape: (height, width) or (channels, height, width) when a record can be drawn.
        held_out_ids: records that the source itself keeps out of training, as a published test set.
    """

    features: NDArray[Any]
    targets: NDArray[np.int64]
    record_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    classes: int
    name: str
    source: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    held_out_ids: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.record_ids)

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each record id in this table."""
        return {record_id: row for row, record_id in enumerate(self.record_ids)}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, subjects, targets and feature bytes: the data version."""
        digest = hashlib.sha256()
        digest.update(f"{self.name}|{self.classes}|{self.features.dtype}|{self.features.shape}".encode())
        for ids in (self.record_ids, self.subject_ids):
            digest.update("\x00".join(ids).encode())
        digest.update(np.ascontiguousarray(self.targets).tobytes())
        digest.update(np.ascontiguousarray(self.features).tobytes())
        return digest.hexdigest()

    def rows(self, record_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the given ids, in their order. Raises NotFoundError naming the unknown ones."""
        advice = "List ids with `expunge score --top 20`, or check the id column of your data."
        return places_of(record_ids, self.position, f"data set {self.name!r}", advice)

    def select(self, record_ids: Collection[str]) -> RecordTable:
        """The sub-table of the given ids (each must exist)."""
        return self._take(np.sort(self.rows(record_ids)))

    def without(self, record_ids: Collection[str]) -> RecordTable:
        """The sub-table that lacks the given ids; ids that are not there are ignored."""
        gone = set(record_ids)
        return self._take(np.array([i for i, r in enumerate(self.record_ids) if r not in gone], dtype=np.int64))

    def of_subject(self, subject_id: str) -> tuple[str, ...]:
        """Ids of the records a subject owns; empty when the subject is unknown."""
        return tuple(r for r, s in zip(self.record_ids, self.subject_ids, strict=True) if s == subject_id)

    def split(self, held_out: float, seed: int) -> tuple[RecordTable, RecordTable]:
        """(training, held-out) by a hash of each record id, so that removing a record moves no other.

        Where the source has a split of its own (`held_out_ids`), by that.
        """
        if self.held_out_ids:
            own = np.array([r in self.held_out_ids for r in self.record_ids], dtype=bool)
            return self._take(np.flatnonzero(~own)), self._take(np.flatnonzero(own))
        share = np.array([unit_hash(f"{seed}:{r}") for r in self.record_ids])
        return self._take(np.flatnonzero(share >= held_out)), self._take(np.flatnonzero(share < held_out))

    def _take(self, rows: NDArray[np.int64]) -> RecordTable:
        return RecordTable(
            features=self.features[rows],
            targets=self.targets[rows],
            record_ids=tuple(self.record_ids[i] for i in rows),
            subject_ids=tuple(self.subject_ids[i] for i in rows),
            classes=self.classes,
            name=self.name,
            source=self.source,
            class_names=self.class_names,
            image_shape=self.image_shape,
            held_out_ids=self.held_out_ids,
        )


def make_table(
    *,
    features: Any,
    targets: Any,
    record_ids: Sequence[Any],
    subject_ids: Sequence[Any] | None = None,
    classes: int | None = None,
    name: str,
    source: dict[str, Any] | None = None,
    class_names: Sequence[str] = (),
    image_shape: tuple[int, ...] | None = None,
    held_out_ids: Collection[str] = (),
) -> RecordTable:
    """Check raw columns and make a table of them.

    Raises UsageError for missing or duplicate ids, differing lengths, targets out of range, non-finite features.
    """
    x = np.asarray(features)
    # Wide integers are token ids; bytes are pixels.
    tokens = np.issubdtype(x.dtype, np.integer) and x.dtype.itemsize >= 4
    x = x.astype(np.int64 if tokens else np.float32, copy=False)
    y = _targets(targets, name)
    ids = _identifiers(record_ids, name, "record id")
    subjects = ids if subject_ids is None else _identifiers(subject_ids, name, "subject id")
    if not len(x) == len(y) == len(ids) == len(subjects):
        raise UsageError(
            f"Data set {name!r}: {len(x)} feature rows, {len(y)} targets, {len(ids)} record ids and"
            f" {len(subjects)} subject ids.",
            "Every record needs one of each.",
        )
    if not len(ids):
        raise UsageError(f"Data set {name!r} has no records.", "Check the file or the loader function.")
    _refuse_duplicates(ids, name)
    if x.dtype == np.float32 and not np.isfinite(x).all():
        bad = [ids[i] for i in np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[:3]]
        raise UsageError(f"Data set {name!r}: features of {bad} are NaN or infinite.", "Clean or impute them.")
    n_classes = int(classes if classes is not None else y.max() + 1)
    if y.min() < 0 or y.max() >= n_classes:
        raise UsageError(f"Data set {name!r}: targets must lie in 0..{n_classes - 1}.", "Recode the target column.")
    if n_classes < 2:
        raise UsageError(f"Data set {name!r} has one class only.", "A classifier needs at least two.")
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    return RecordTable(
        features=np.ascontiguousarray(x[order]),
        targets=y[order],
        record_ids=tuple(ids[i] for i in order),
        subject_ids=tuple(subjects[i] for i in order),
        classes=n_classes,
        name=name,
        source=dict(source or {}),
        class_names=tuple(class_names),
        image_shape=image_shape,
        held_out_ids=frozenset(held_out_ids),
    )


def content_ids(prefix: str, features: NDArray[Any], targets: NDArray[Any]) -> list[str]:
    """Ids for data that ships none: a hash of each record's content; equal records get -2, -3 and so on."""
    seen: dict[str, int] = {}
    ids = []
    for row, target in zip(np.ascontiguousarray(features), targets, strict=True):
        key = f"{prefix}-{hashlib.sha256(row.tobytes() + str(int(target)).encode()).hexdigest()[:12]}"
        seen[key] = seen.get(key, 0) + 1
        ids.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return ids


def simulated_subjects(record_ids: Sequence[str], per_subject: float) -> list[str]:
    """Owners for data that names none: each record falls to a person by a hash of its id (declared as simulated)."""
    people = max(1, round(len(record_ids) / per_subject))
    return [f"person-{int(unit_hash('subject:' + r) * people):05d}" for r in record_ids]


def unit_hash(text: str) -> float:
    """A number in [0, 1) that follows from the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _targets(targets: Any, name: str) -> NDArray[np.int64]:
    y = np.asarray(targets)
    if y.ndim != 1:
        raise UsageError(f"Data set {name!r}: targets must be one-dimensional, not {y.shape}.", "One class a record.")
    if not np.issubdtype(y.dtype, np.integer):
        try:
            as_float = y.astype(np.float64)
        except (TypeError, ValueError):
            raise UsageError(
                f"Data set {name!r}: targets are not integers.", "Encode the classes as 0, 1, 2 ..."
            ) from None
        if not np.isfinite(as_float).all() or (as_float != np.round(as_float)).any():
            raise UsageError(
                f"Data set {name!r}: some targets are missing or fractional.", "Encode classes as 0, 1, 2 ..."
            )
        y = as_float
    return y.astype(np.int64)


def _identifiers(values: Sequence[Any], name: str, what: str) -> list[str]:
    ids = []
    missing = []
    for row, value in enumerate(values):
        absent = value is None or (isinstance(value, float) and np.isnan(value)) or not str(value).strip()
        if absent or str(value) in ("nan", "None", "<NA>"):
            missing.append(row)
        ids.append(str(value).strip())
    if missing:
        raise UsageError(
            f"Data set {name!r}: {len(missing)} record(s) have no {what} (first at row {missing[0]}).",
            "Every record needs a stable id of its own: without it nobody can ask for its deletion.",
        )
    return ids


def _refuse_duplicates(ids: list[str], name: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    twice = sorted({i for i in ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
    raise UsageError(
        f"Data set {name!r}: {len(twice)} record id(s) appear more than once, such as {twice[0]!r}.",
        "A deletion must know which record is meant: make the ids unique.",
    )
