"""Fashion-MNIST: an installed copy, a --data-dir, or torchvision's download; all the same four idx files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.data.record_table import RecordTable, content_ids, make_table, simulated_subjects
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
    Looks in `data_dir`, then in an installed copy; with `download=True` torchvision fetches into `data_dir`.
    Raises NotFoundError when no copy is found, UsageError for a file that is not in idx format
    or a `pool` that does not divide 28.
    """
    if pool < 1 or SIDE % pool:
        raise UsageError(f"pool is {pool}, which does not divide {SIDE} pixels.", "Choose 1, 2, 4, 7, 14 or 28.")
    folder = _find(data_dir, download)
    images = _read_idx(folder, "train-images-idx3-ubyte", 3)
    labels = _read_idx(folder, "train-labels-idx1-ubyte", 1)
    trained = len(images)
    if published_split:
        images = np.concatenate([images, _read_idx(folder, "t10k-images-idx3-ubyte", 3)])
        labels = np.concatenate([labels, _read_idx(folder, "t10k-labels-idx1-ubyte", 1)])
    ids = np.array(content_ids("fashion", images, labels))
    held_out = frozenset(ids[trained:].tolist())
    if limit is not None:
        if not 0 < limit <= len(ids):
            raise UsageError(f"limit is {limit}, but Fashion-MNIST has {len(ids)} records.", "Choose a smaller limit.")
        keep = np.argsort(ids)[:limit]
        images, labels, ids = images[keep], labels[keep], ids[keep]
    pixels = images.astype(np.float32)[:, None]
    pixels /= 255.0
    if pool > 1:
        pixels = pixels.reshape(len(pixels), 1, SIDE // pool, pool, SIDE // pool, pool).mean(axis=(3, 5))
    return make_table(
        features=pixels,
        targets=labels,
        record_ids=ids.tolist(),
        subject_ids=simulated_subjects(ids.tolist(), records_per_subject),
        classes=10,
        name="fashion_mnist",
        source={
            "name": "fashion_mnist",
            "options": {
                "data_dir": data_dir,
                "limit": limit,
                "records_per_subject": records_per_subject,
                "published_split": published_split,
                "pool": pool,
            },
        },
        class_names=CLASSES,
        image_shape=(SIDE // pool, SIDE // pool),
        held_out_ids=held_out,
    )


def _find(data_dir: str | None, download: bool) -> Path:
    places = [Path(data_dir), Path(data_dir) / "FashionMNIST" / "raw"] if data_dir else []
    for folder in [*places, INSTALLED]:
        if any((folder / f"train-images-idx3-ubyte{end}").is_file() for end in ("", ".gz")):
            return folder
    if download and data_dir:
        from torchvision.datasets import FashionMNIST

        FashionMNIST(data_dir, train=True, download=True)
        return Path(data_dir) / "FashionMNIST" / "raw"
    raise NotFoundError(
        f"No copy of Fashion-MNIST in {data_dir or INSTALLED}.",
        "Install Debian's dataset-fashion-mnist, set data.options.data_dir to a folder with the four idx files,"
        " or set data.options.data_dir and data.options.download=true.",
    )


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
