"""Do the CIFAR-10 and SVHN loaders read the published formats, as torchvision reads them, and run nothing in them?"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from expunge.data import cifar10
from expunge.data.registry import load_records
from expunge.errors import NotFoundError, UsageError
from expunge.functions import set_project_root

Batch = tuple[np.ndarray, np.ndarray]
NAMES = (*cifar10.TRAIN, cifar10.TEST)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    set_project_root(tmp_path)
    return tmp_path


def binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    """cifar-10-binary's format."""
    return np.column_stack([labels.astype(np.uint8), images.reshape(len(labels), -1)]).tobytes()


def pickled(images: np.ndarray, labels: np.ndarray) -> bytes:
    """cifar-10-python's format: a dictionary and a numpy array as Python 2 wrote them, with protocol 2."""

    def text(word: str) -> bytes:
        return b"U" + bytes([len(word)]) + word.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    pixels = images.tobytes()
    shape = number(len(labels)) + number(3072) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text("u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text("|") + b"NNN" + number(-1) * 2
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R(K\x01" + shape
    array += dtype + b"K\x00tb\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    names = b"](" + b"".join(text(f"frog_{k}.png") for k in range(len(labels))) + b"e"
    listed = b"](" + b"".join(b"K" + bytes([int(label)]) for label in labels) + b"e"
    entries = text("batch_label") + text("training batch 1 of 5") + text("labels") + listed + text("data") + array
    return b"\x80\x02}(" + entries + text("filenames") + names + b"u."


@pytest.fixture
def batches(folder: Path) -> dict[str, Batch]:
    """Six of CIFAR-10's batches of eight images, in both formats, in the project's folder data/ and in python/."""
    rng = np.random.default_rng(0)
    made = {name: (rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 8)) for name in NAMES}
    for place, end, write in ((f"data/{cifar10.BINARY}", ".bin", binary), (f"python/{cifar10.PICKLED}", "", pickled)):
        (folder / place).mkdir(parents=True)
        for name, batch in made.items():
            (folder / place / f"{name}{end}").write_bytes(write(*batch))
    return made


def labels_by_image(images: Any, labels: Any) -> dict[bytes, int]:
    return {image.tobytes(): int(label) for image, label in zip(np.ascontiguousarray(images), labels, strict=True)}


def as_drawn(table: Any) -> dict[bytes, int]:
    """The table's images as bytes again, with their labels."""
    assert table.features.dtype == np.float32 and table.features.min() >= 0 and table.features.max() <= 1
    return labels_by_image(np.rint(table.features * 255).astype(np.uint8), table.targets)


def test_both_formats_of_cifar10_give_the_records_that_torchvision_reads(
    batches: dict[str, Batch], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    table = load_records("cifar10", {"published_split": True})
    assert table.features.shape == (48, 3, 32, 32) and table.image_shape == (3, 32, 32) and table.classes == 10
    for part, train in zip(table.split(0.5, seed=0), (True, False), strict=True):
        theirs = datasets.CIFAR10(folder / "python", train=train)
        assert as_drawn(part) == labels_by_image(theirs.data.transpose(0, 3, 1, 2), theirs.targets)
    other = load_records("cifar10", {"published_split": True, "data_dir": "python"})
    assert other.fingerprint == table.fingerprint and other.held_out_ids == table.held_out_ids
    named = load_records("cifar10", {"data_dir": f"python/{cifar10.PICKLED}"})
    assert named.record_ids == table.split(0.5, seed=0)[0].record_ids, "without the test set, the training images"
    assert load_records(table.source["name"], table.source["options"]).fingerprint == table.fingerprint


def test_a_limit_and_pooled_pixels_keep_the_ids(batches: dict[str, Batch]) -> None:
    whole, some, small = (load_records("cifar10", options) for options in ({}, {"limit": 15}, {"limit": 15, "pool": 4}))
    assert some.record_ids == small.record_ids == whole.record_ids[:15]
    assert small.features.shape == (15, 3, 8, 8) and small.image_shape == (3, 8, 8)
    np.testing.assert_allclose(small.features[3, 1, 2, 5], some.features[3, 1, 8:12, 20:24].mean(), rtol=1e-5)
    with pytest.raises(UsageError, match="limit is 41, but CIFAR-10 has 40"):
        load_records("cifar10", {"limit": 41})
    with pytest.raises(UsageError, match="pool is 5, which does not divide 32 pixels"):
        load_records("cifar10", {"pool": 5})


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_runs_none_here(batches: dict[str, Batch], folder: Path) -> None:
    file, mark = folder / "python" / cifar10.PICKLED / "data_batch_2", folder / "ran"
    trap = pickle.dumps({"trap": Malicious(mark)}, protocol=2)
    # Carried out before the batch itself: what it leaves on the stack is popped ("0").
    file.write_bytes(trap[:-1] + b"0" + pickled(*batches["data_batch_2"])[2:])
    table = load_records("cifar10", {"data_dir": "python"})
    assert not mark.exists() and table.fingerprint == load_records("cifar10").fingerprint
    with file.open("rb") as opened:
        pickle.load(opened, encoding="latin1")  # noqa: S301 - the control: it would have
    assert mark.exists()


BIN, PY = f"data/{cifar10.BINARY}/data_batch_3.bin", f"python/{cifar10.PICKLED}/data_batch_3"
SPOILT = {
    "cut short": (BIN, lambda raw: raw[:-1], "data_batch_3.bin has 24583 bytes, not whole records"),
    "empty": (BIN, lambda raw: b"", "has 0 bytes"),
    "label 10": (BIN, lambda raw: b"\x0a" + raw[1:], "label outside 0..9"),
    "torn opcodes": (PY, lambda raw: raw[:-2], "data_batch_3 is no batch of CIFAR-10: "),
    "torn pixels": (PY, lambda raw: raw[:9000], "data_batch_3 is no batch of CIFAR-10: "),
    "no pickle": (PY, lambda raw: b"\xff" + raw, "data_batch_3 is no batch of CIFAR-10: "),
    "other words": (PY, lambda raw: raw.replace(b"\x06labels", b"\x06lapels"), "0 labels, 24576 bytes of pixels"),
    "a label less": (PY, lambda raw: raw.replace(raw[(at := raw.index(b"](K")) : at + 4], b"](", 1), "7 labels"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_batch_is_named(batches: dict[str, Batch], folder: Path, case: str) -> None:
    name, change, words = SPOILT[case]
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(UsageError, match=words):
        load_records("cifar10", {"data_dir": name.split("/")[0]})


def test_no_copy_of_cifar10_or_half_a_one(batches: dict[str, Batch], folder: Path) -> None:
    (folder / "data" / cifar10.BINARY / "data_batch_4.bin").unlink()
    with pytest.raises(NotFoundError, match=r"has no .*data_batch_4\.bin"):
        load_records("cifar10")
    with pytest.raises(NotFoundError, match=r"No copy of CIFAR-10 in .*elsewhere.*cifar-10-binary\.tar\.gz"):
        load_records("cifar10", {"data_dir": "elsewhere"})


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address under which the folder far/ is served, on this machine alone."""
    (folder / "far").mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "far"))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore:Python 3.14:DeprecationWarning")  # torchvision's unpacking
def test_a_download_of_cifar10_is_checked_unpacked_and_read(
    batches: dict[str, Batch], folder: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = folder / "far" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "data" / cifar10.BINARY, cifar10.BINARY)
    monkeypatch.setattr(cifar10, "URL", f"{server}/{archive.name}")
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    arrived = load_records("cifar10", {"data_dir": "near", "download": True})
    assert arrived.fingerprint == load_records("cifar10").fingerprint
    for changes in ({"MD5": "0" * 32}, {"URL": f"{server}/nothing.tar.gz"}):
        with monkeypatch.context() as patch:
            for name, value in changes.items():
                patch.setattr(cifar10, name, value)
            with pytest.raises(NotFoundError, match=r"CIFAR-10 could not be fetched: .*(corrupted|404)"):
                load_records("cifar10", {"data_dir": "nearer", "download": True})


@pytest.fixture
def houses(folder: Path) -> None:
    rng = np.random.default_rng(1)
    (folder / "data").mkdir()
    for part, n in (("train", 30), ("test", 7)):
        y = np.concatenate([np.arange(1, 11), rng.integers(1, 11, n)])[:n, None].astype(np.uint8)
        x = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        savemat(folder / "data" / f"{part}_32x32.mat", {"X": x, "y": y}, do_compression=True)


def test_svhn_gives_the_records_that_torchvision_reads(
    houses: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    table = load_records("svhn", {"published_split": True})
    for part, split in zip(table.split(0.5, seed=0), ("train", "test"), strict=True):
        theirs = datasets.SVHN(folder / "data", split=split)
        assert as_drawn(part) == labels_by_image(theirs.data, theirs.labels)
        assert 0 in part.targets or split == "test"
    alone = load_records("svhn", {"data_dir": "data", "limit": 20, "pool": 2})
    assert alone.features.shape == (20, 3, 16, 16) and not alone.held_out_ids
    assert set(alone.record_ids) < set(table.record_ids) - table.held_out_ids
    assert load_records(table.source["name"], table.source["options"]).fingerprint == table.fingerprint


def test_an_unusable_svhn_is_refused_in_words(houses: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match=r"No copy of SVHN's train_32x32\.mat in .*elsewhere.*housenumbers"):
        load_records("svhn", {"data_dir": "elsewhere"})
    file = folder / "data" / "test_32x32.mat"
    savemat(file, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.array([[1], [2], [3], [11]])})
    with pytest.raises(UsageError, match=r"test_32x32\.mat does not hold SVHN's cropped digits"):
        load_records("svhn", {"published_split": True})
    savemat(file, {"X": np.zeros((32, 32, 3, 4), np.uint8)})
    with pytest.raises(UsageError, match=r"test_32x32\.mat does not hold"):
        load_records("svhn", {"published_split": True})
    for raw in (b"", b"not a mat file" * 20, (folder / "data" / "train_32x32.mat").read_bytes()[:5000]):
        file.write_bytes(raw)
        with pytest.raises(UsageError, match=r"test_32x32\.mat cannot be read"):
            load_records("svhn", {"published_split": True})


def test_what_is_missing_of_svhn_is_downloaded_and_checked(
    houses: None, folder: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = load_records("svhn", {"published_split": True})
    far = folder / "far" / "test_32x32.mat"
    (folder / "data" / far.name).rename(far)
    options = {"published_split": True, "download": True}
    for md5 in ("0" * 32, hashlib.md5(far.read_bytes()).hexdigest()):
        monkeypatch.setitem(datasets.SVHN.split_list, "test", [f"{server}/{far.name}", far.name, md5])
        if md5[0] * 32 == md5:
            with pytest.raises(NotFoundError, match=r"SVHN could not be fetched: .*corrupted"):
                load_records("svhn", options)
            assert not (folder / "data" / far.name).exists()
    assert load_records("svhn", options).fingerprint == both.fingerprint
