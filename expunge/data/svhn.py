"""SVHN, cropped house-number digits: train_32x32.mat and test_32x32.mat as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expunge.data.images import Part, check_pool, data_folder, fetched, table_of_images
from expunge.data.record_table import RecordTable
from expunge.errors import NotFoundError, UsageError

PAGE = "http://ufldl.stanford.edu/housenumbers/"
SIDE = 32


def load_svhn(
    data_dir: str | None = None,
    download: bool = False,
    limit: int | None = None,
    records_per_subject: float = 4.0,
    published_split: bool = False,
    pool: int = 1,
) -> RecordTable:
    """The 73,257 training images, float32 [n, 3, 32, 32] in 0..1, or the `limit` first by a hash of their content.

    The published label 10 is the digit 0. `published_split` (26,032 test images), `pool` and simulated owners are as
    in `load_fashion_mnist`. Looks in `data_dir`, else in the project's folder data/; with `download=True` torchvision
    fetches what is missing there, checked by its MD5. The `extra` images are not read.

    Raises NotFoundError when no copy is found, UsageError for a file that is not as published.
    """
    check_pool(pool, SIDE)
    folder = data_folder(data_dir)
    return table_of_images(
        [_read(folder, "train", download)],
        [_read(folder, "test", download)] if published_split else [],
        title="SVHN",
        prefix="svhn",
        name="svhn",
        class_names=[str(digit) for digit in range(10)],
        data_dir=data_dir,
        limit=limit,
        records_per_subject=records_per_subject,
        pool=pool,
    )


def _read(folder: Path, part: str, download: bool) -> Part:
    """X is [32, 32, 3, n], y [n, 1] in 1..10: uint8 [n, 3, 32, 32], [n] in 0..9."""
    from scipy.io import loadmat

    path = folder / f"{part}_32x32.mat"
    advice = f"Put {path.name} from {PAGE} there, or set data.options.download=true;"
    advice += " data.options.data_dir names another folder."
    if not path.is_file() and download:
        from torchvision.datasets import SVHN, utils

        url, name, md5 = SVHN.split_list[part]
        try:
            fetched("SVHN", lambda: utils.download_url(url, str(folder), name, md5), advice)
        except NotFoundError:
            path.unlink(missing_ok=True)  # with a wrong checksum it must not be taken for a copy next time
            raise
    if not path.is_file():
        raise NotFoundError(f"No copy of SVHN's {path.name} in {folder}.", advice)
    try:
        mat = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # scipy's reader raises almost anything for a torn file
        raise UsageError(f"{path} cannot be read: {error}.", "Delete it and fetch it again.") from error
    images, labels = mat.get("X", np.zeros(0)), mat.get("y", np.zeros(0)).reshape(-1)
    whole = images.ndim == 4 and images.shape == (SIDE, SIDE, 3, len(labels)) and images.dtype == np.uint8
    if not whole or not len(labels) or labels.min() < 1 or labels.max() > 10:
        raise UsageError(f"{path} does not hold SVHN's cropped digits, X and y.", "Delete it and fetch it again.")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels.astype(np.int64) % 10
