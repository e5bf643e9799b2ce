"""How does a published set of images become a table? Ids of their content, owners simulated, its own test set kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.data.record_table import RecordTable, content_ids, make_table, simulated_subjects
from expunge.errors import NotFoundError, UsageError
from expunge.functions import project_root

# Images, uint8 [n, channels, side, side], and their labels, [n].
Part = tuple[NDArray[np.uint8], NDArray[Any]]


def check_pool(pool: int, side: int) -> None:
    """Raises UsageError where `pool` does not divide the side of an image, in pixels."""
    if pool < 1 or side % pool:
        divisors = ", ".join(str(d) for d in range(1, side + 1) if side % d == 0)
        raise UsageError(f"pool is {pool}, which does not divide {side} pixels.", f"Choose one of {divisors}.")


def table_of_images(
    train: Sequence[Part],
    test: Sequence[Part],
    *,
    title: str,
    prefix: str,
    name: str,
    class_names: Sequence[str],
    data_dir: str | None,
    limit: int | None,
    records_per_subject: float,
    pool: int,
) -> RecordTable:
    """Features float32 [n, channels, side / pool, side / pool] in 0..1.

    Only divided by 255: a mean or deviation of the data would let an erased record live on in the scale.

    Args:
        train, test: the published parts; a test set is held out, whatever the share. title: of the data set.
        prefix: of the record ids, which are a hash of image and label. name, data_dir: what loads the table again.
        limit: take so many, the first by id. pool: average pool x pool pixels; ids stay those of the whole images.

    Raises UsageError for a limit beyond the images.
    """
    images = np.concatenate([images for images, _ in (*train, *test)])
    labels = np.concatenate([labels for _, labels in (*train, *test)])
    ids = np.array(content_ids(prefix, images, labels))
    held_out = frozenset(ids[sum(len(labels) for _, labels in train) :].tolist())
    if limit is not None:
        if not 0 < limit <= len(ids):
            raise UsageError(f"limit is {limit}, but {title} has {len(ids)} records.", "Choose a smaller limit.")
        keep = np.argsort(ids)[:limit]
        images, labels, ids = images[keep], labels[keep], ids[keep]
    pixels = images.astype(np.float32)
    pixels /= 255.0
    n, channels, height, width = pixels.shape
    if pool > 1:
        pixels = pixels.reshape(n, channels, height // pool, pool, width // pool, pool).mean(axis=(3, 5))
    options = {
        "data_dir": data_dir,
        "limit": limit,
        "records_per_subject": records_per_subject,
        "published_split": bool(test),
        "pool": pool,
    }
    return make_table(
        features=pixels,
        targets=labels,
        record_ids=ids.tolist(),
        subject_ids=simulated_subjects(ids.tolist(), records_per_subject),
        classes=len(class_names),
        name=name,
        source={"name": name, "options": options},
        class_names=class_names,
        image_shape=pixels.shape[2:] if channels == 1 else pixels.shape[1:],
        held_out_ids=held_out,
    )


def data_folder(data_dir: str | None) -> Path:
    """Where a data set without an installed copy is looked for: `data_dir`, or the project's folder data/."""
    return Path(data_dir) if data_dir else project_root() / "data"


def fetched(title: str, by: Callable[[], object], else_do: str) -> None:
    """Download by torchvision. Raises NotFoundError, with what to do instead, when it does not arrive whole."""
    try:
        by()
    except (OSError, RuntimeError) as error:  # no network; a wrong checksum
        raise NotFoundError(f"{title} could not be fetched: {error}.", else_do) from error
