"""Fashion-MNIST: an installed copy, a --data-dir, or torchvision's download; all the same four idx files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.data.images import Part, check_pool, data_folder, fetched, table_of_images
from expunge.data.record_table import RecordTable
from expunge.errors import NotFoundError, UsageError

# Where Debian's package dataset-fashion-mnist puts the files.
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
SIDE = 28
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load_fashion_mnist(
    data_dir: str | None = None,
    download: bool = False,
    limit: int | None = None,
    records_per_subject: float = 4.0,
    published_split: bool = False,
    pool: int = 1,
) -> RecordTable:
    """The 60,000 training images, or the `limit` first by a hash of their content; owners are simulated.

    With `published_split` the 10,000 test images are there too, and they are what is held out, whatever the share.
    `pool` averages pool x pool pixels, float32 [n, 1, 28 / pool, 28 / pool]: a record keeps the id of its whole image.
    Looks in `data_dir`, or else the project's folder data/, then in an installed copy; with `download=True` torchvision
    fetches there.
    Raises NotFoundError when no copy is found, UsageError for a file that is not in idx format
    or a `pool` that does not divide 28.
    """
    check_pool(pool, SIDE)
    folder = _find(data_dir, download)
    return table_of_images(
        [_read_part(folder, "train")],
        [_read_part(folder, "t10k")] if published_split else [],
        title="Fashion-MNIST",
        prefix="fashion",
        name="fashion_mnist",
        class_names=CLASSES,
        data_dir=data_dir,
        limit=limit,
        records_per_subject=records_per_subject,
        pool=pool,
    )


def _find(data_dir: str | None, download: bool) -> Path:
    folder = data_folder(data_dir)
    fetched_to = folder / "FashionMNIST" / "raw"
    for place in (folder, fetched_to, INSTALLED):
        if any((place / f"train-images-idx3-ubyte{end}").is_file() for end in ("", ".gz")):
            return place
    advice = (
        "Install Debian's dataset-fashion-mnist, put the four idx files there, name their folder in"
        " data.options.data_dir, or set data.options.download=true."
    )
    if download:
        from torchvision.datasets import FashionMNIST

        fetched("Fashion-MNIST", lambda: FashionMNIST(str(folder), train=True, download=True), advice)
        return fetched_to
    raise NotFoundError(f"No copy of Fashion-MNIST in {folder}.", advice)


def _read_part(folder: Path, part: str) -> Part:
    """uint8 [n, 1, 28, 28], [n]."""
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", 3)
    return images[:, None], _read_idx(folder, f"{part}-labels-idx1-ubyte", 1)


def _read_idx(folder: Path, name: str, dimensions: int) -> NDArray[Any]:
    path = folder / f"{name}.gz"
    raw = gzip.decompress(path.read_bytes()) if path.is_file() else (folder / name).read_bytes()
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise UsageError(f"{folder / name} is not an idx file of {dimensions} dimensions.", "Fetch it again.")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    if len(raw) - header != int(np.prod(shape)):
        raise UsageError(f"{folder / name} is cut short.", "Fetch it again.")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)
