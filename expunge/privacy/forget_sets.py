"""Which records are to be forgotten together? Forget sets by difficulty, controls for them, and named records.

METHOD section 9: quantile bins of the privacy loss, the hardest share, a random control and a label-matched control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from expunge.errors import NotFoundError, UsageError, nearest
from expunge.privacy.record_index import RecordIndex, first_few, refuse_repeats
from expunge.privacy.scores import PrivacyLosses

Kind = Literal["quantile_bin", "hardest", "easiest", "random", "label_matched", "records"]


@dataclass(frozen=True)
class ForgetSet:
    """Records to forget together.

    record_ids in the order of the data; request_ids are opaque ids of the requests behind them (empty for experiments);
    set_loss in nats, where it was computed (see set_loss.py).
    """

    record_ids: tuple[str, ...]
    request_ids: tuple[str, ...]
    kind: Kind
    description: str
    set_loss: float | None = None

    def __len__(self) -> int:
        return len(self.record_ids)


def build_forget_set(
    kind: Kind,
    records: PrivacyLosses | Sequence[str],
    *,
    record_ids: Sequence[str] | None = None,
    fraction: float | None = None,
    size: int | None = None,
    bins: int = 5,
    bin_index: int | None = None,
    labels: Mapping[str, Any] | None = None,
    reference: ForgetSet | Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    request_ids: Sequence[str] = (),
    set_loss: float | None = None,
    seed: int = 0,
) -> ForgetSet:
    """Builds one forget set.

    Args:
        kind:
            "quantile_bin"   bin `bin_index` (0 the easiest) of `bins` equal bins of the privacy loss; with `size` or
                             `fraction`, so many of it at random
            "hardest", "easiest"  the `fraction` or `size` with the largest or smallest loss
            "random"         `fraction` or `size` of all records at random: the control for size
            "label_matched"  as many of each label as `reference` has, at random from the others: the control for labels
            "records"        the given `record_ids`
        records: every training record: PrivacyLosses, or just the ids for the kinds that need no loss.
        fraction: share of the records (of the bin, for quantile_bin), in (0, 1); rounded, at least one record.
        labels: record id -> label, for label_matched; all records and the reference need one.
        exclude: records never chosen (hold-outs, other sets).
        seed: of the numpy Generator that draws; same arguments and seed, same set.

    Returns:
        A ForgetSet with its records in the order of the data.

    Raises:
        NotFoundError: ids that are not among the records.
        UsageError: an empty set; a set that is every training record; an id given twice; a missing or meaningless
            argument; too few other records with some label.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"Unknown kind of forget set {kind!r}.", nearest(str(kind), list(get_args(Kind))))
    everyone = tuple(records.record_ids if isinstance(records, PrivacyLosses) else records)
    index = RecordIndex(everyone)
    generator = np.random.default_rng(seed)
    allowed = np.ones(len(everyone), dtype=bool)
    allowed[index.positions(exclude)] = False
    candidates = np.flatnonzero(allowed)
    if kind == "records":
        chosen, description = _named(record_ids, index, allowed)
    elif kind == "label_matched":
        chosen, description = _matched(everyone, index, candidates, reference, labels, generator)
    elif kind == "random":
        count = _count(len(candidates), fraction, size, kind)
        chosen = generator.choice(candidates, count, replace=False)
        description = f"{count} records at random (seed {seed})"
    else:
        if not isinstance(records, PrivacyLosses):
            raise UsageError(f"A forget set of kind {kind!r} needs privacy losses.", "Score the model first.")
        easiest_first = candidates[np.argsort(_ordering(records)[candidates], kind="stable")]
        if kind == "quantile_bin":
            members = _bin(easiest_first, bins, bin_index)
            chosen, description = members, f"bin {bin_index} of {bins} by privacy loss (0 is the easiest)"
            if fraction is not None or size is not None:
                count = _count(len(members), fraction, size, kind)
                chosen = generator.choice(members, count, replace=False)
                description = f"{count} records at random (seed {seed}) from {description}"
        else:
            count = _count(len(candidates), fraction, size, kind)
            chosen = easiest_first[len(easiest_first) - count :] if kind == "hardest" else easiest_first[:count]
            description = f"the {count} {kind} records by privacy loss"
    return _finished(kind, chosen, everyone, description, tuple(request_ids), set_loss)


def _finished(
    kind: Kind, chosen: Any, everyone: tuple[str, ...], description: str, requests: tuple[str, ...], loss: float | None
) -> ForgetSet:
    if len(chosen) == 0:
        raise UsageError("The forget set is empty.", "Name at least one record, or ask for a larger share.")
    if len(chosen) == len(everyone):
        raise UsageError(
            "The forget set is every training record; retraining on nothing is not possible.",
            "Destroy the model instead, or keep some records.",
        )
    refuse_repeats(requests)
    return ForgetSet(tuple(everyone[i] for i in sorted(chosen)), requests, kind, description, loss)


def _named(record_ids: Sequence[str] | None, index: RecordIndex, allowed: Any) -> tuple[Any, str]:
    if record_ids is None:
        raise UsageError('A forget set of kind "records" needs record_ids.')
    rows = index.positions(record_ids)
    refuse_repeats(list(record_ids))
    excluded = [record_id for record_id, row in zip(record_ids, rows, strict=True) if not allowed[row]]
    if excluded:
        raise UsageError(f"Records are both named and excluded: {first_few(excluded)}.")
    return rows, f"{len(rows)} named record{'s' if len(rows) != 1 else ''}"


def _matched(
    everyone: tuple[str, ...],
    index: RecordIndex,
    candidates: Any,
    reference: ForgetSet | Sequence[str] | None,
    labels: Mapping[str, Any] | None,
    generator: np.random.Generator,
) -> tuple[Any, str]:
    """As many of each label as the reference has, none of the reference itself."""
    if reference is None or labels is None:
        raise UsageError('A forget set of kind "label_matched" needs reference and labels.')
    taken = reference.record_ids if isinstance(reference, ForgetSet) else tuple(reference)
    rows = index.positions(taken)
    refuse_repeats(taken)
    missing = [record_id for record_id in everyone if record_id not in labels]
    if missing:
        raise NotFoundError(f"No label for {len(missing)} records: {first_few(missing)}.")
    free = candidates[~np.isin(candidates, rows)]
    by_label: dict[Any, list[int]] = {}
    for row in free:
        by_label.setdefault(labels[everyone[row]], []).append(int(row))
    wanted = Counter(labels[record_id] for record_id in taken)
    chosen: list[int] = []
    for label in sorted(wanted, key=str):  # a fixed order, so that the draw depends on the seed alone
        pool = by_label.get(label, [])
        if len(pool) < wanted[label]:
            raise UsageError(
                f"{wanted[label]} other records with label {label!r} are needed, and there are {len(pool)}.",
                "Use a smaller reference set.",
            )
        chosen.extend(int(row) for row in generator.choice(pool, wanted[label], replace=False))
    return chosen, f"{len(chosen)} other records with the same labels as the reference set"


def _ordering(losses: PrivacyLosses) -> Any:
    """A number per record, larger for harder; ties are settled as in PrivacyLosses.rank."""
    return -losses.rank()


def _bin(easiest_first: Any, bins: int, bin_index: int | None) -> Any:
    if bins < 2:
        raise UsageError(f"bins must be 2 or more; got {bins}.")
    if bin_index is None or not 0 <= bin_index < bins:
        raise UsageError(f"bin_index must be from 0 (easiest) to {bins - 1}; got {bin_index}.")
    return np.array_split(easiest_first, bins)[bin_index]


def _count(available: int, fraction: float | None, size: int | None, kind: str) -> int:
    if (fraction is None) == (size is None):
        raise UsageError(f"A forget set of kind {kind!r} needs either fraction or size.")
    if fraction is not None:
        if not 0 < fraction < 1:
            raise UsageError(f"fraction must lie between 0 and 1; got {fraction!r}.")
        return min(available, max(1, round(fraction * available)))
    assert size is not None
    if not 0 <= size <= available:
        raise UsageError(f"size {size} is not from 0 to the {available} records available.")
    return size
