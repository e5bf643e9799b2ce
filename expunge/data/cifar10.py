"""CIFAR-10: the binary batches, or the ones in Python's format, which are parsed and never unpickled."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.data.images import Part, check_pool, data_folder, fetched, table_of_images
from expunge.data.record_table import RecordTable
from expunge.errors import NotFoundError, UsageError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
BINARY, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
TRAIN, TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), "test_batch"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
PIXELS = 3 * SIDE * SIDE
_INTEGERS = {"BININT", "BININT1", "BININT2"}


def load_cifar10(
    data_dir: str | None = None,
    download: bool = False,
    limit: int | None = None,
    records_per_subject: float = 4.0,
    published_split: bool = False,
    pool: int = 1,
) -> RecordTable:
    """The 50,000 training images, float32 [n, 3, 32, 32] in 0..1, or the `limit` first by a hash of their content.

    `published_split`, `pool` and simulated owners are as in `load_fashion_mnist`. Looks in `data_dir`, else in the
    project's folder data/, for cifar-10-batches-bin or torchvision's cifar-10-batches-py, or for their files. A pickle
    can run code when it is loaded, and torchvision loads its files so; here their opcodes are read as data and none is
    carried out. Both give the same records. With `download=True` torchvision's downloader fetches the binary archive,
    checked by its published MD5.

    Raises NotFoundError when no copy is found, UsageError for a file that is not in its format or cut short.
    """
    check_pool(pool, SIDE)
    folder, end = _find(data_folder(data_dir), download)
    read = _read_binary if end else _read_pickled
    return table_of_images(
        [read(folder / f"{name}{end}") for name in TRAIN],
        [read(folder / f"{TEST}{end}")] if published_split else [],
        title="CIFAR-10",
        prefix="cifar10",
        name="cifar10",
        class_names=CLASSES,
        data_dir=data_dir,
        limit=limit,
        records_per_subject=records_per_subject,
        pool=pool,
    )


def _find(folder: Path, download: bool) -> tuple[Path, str]:
    """The folder of the batches, and the ending of their names: ".bin", or "" for Python's."""
    advice = f"Unpack {URL} there, or set data.options.download=true; data.options.data_dir names another folder."
    if found := _copy_in(folder):
        return found
    if download:
        from torchvision.datasets import utils

        fetched("CIFAR-10", lambda: utils.download_and_extract_archive(URL, str(folder), md5=MD5), advice)
        if found := _copy_in(folder):
            return found
    raise NotFoundError(f"No copy of CIFAR-10 in {folder}.", advice)


def _copy_in(folder: Path) -> tuple[Path, str] | None:
    places = [(place, ".bin") for place in (folder, folder / BINARY)]
    places += [(place, "") for place in (folder, folder / PICKLED)]
    return next(((place, end) for place, end in places if (place / f"{TRAIN[0]}{end}").is_file()), None)


def _read_binary(path: Path) -> Part:
    """Each record is its label and 3,072 pixels, a byte each: uint8 [n, 3, 32, 32], [n]."""
    raw = _bytes(path)
    if not raw or len(raw) % (1 + PIXELS):
        raise UsageError(
            f"{path} has {len(raw)} bytes, not whole records of {1 + PIXELS}.", "Delete it and fetch it again."
        )
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 1 + PIXELS)
    return _checked(path, rows[:, 1:], rows[:, 0])


def _read_pickled(path: Path) -> Part:
    """The one long string holds the pixels; the integers that follow the word "labels" are the labels."""
    pixels, labels, word = b"", [], b""
    try:
        for opcode, argument, _ in pickletools.genops(_bytes(path)):
            if isinstance(argument, str | bytes):
                word = argument.encode("latin-1") if isinstance(argument, str) else argument
                pixels = max(pixels, word, key=len)
            elif opcode.name in _INTEGERS and word == b"labels":
                labels.append(argument)
    except ValueError as error:
        raise UsageError(f"{path} is no batch of CIFAR-10: {error}.", f"Fetch {URL} instead.") from None
    if not labels or len(pixels) != len(labels) * PIXELS:
        raise UsageError(
            f"{path} is no batch of CIFAR-10: {len(labels)} labels, {len(pixels)} bytes of pixels.",
            f"Fetch {URL} instead.",
        )
    return _checked(path, np.frombuffer(pixels, dtype=np.uint8), np.array(labels))


def _checked(path: Path, pixels: NDArray[np.uint8], labels: NDArray[Any]) -> Part:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UsageError(
            f"{path} has a label outside 0..{len(CLASSES) - 1}: is it CIFAR-10?", "Delete it and fetch it again."
        )
    return pixels.reshape(-1, 3, SIDE, SIDE), labels


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise NotFoundError(f"This copy of CIFAR-10 has no {path}.", f"Unpack {URL} there again.")
    return path.read_bytes()
