"""Do the loaders give records with ids and owners of their own, and refuse unusable files in words?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_files import write_idx

from expunge.data.registry import load_records
from expunge.errors import NotFoundError, UsageError
from expunge.functions import set_project_root


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    set_project_root(tmp_path)
    return tmp_path


@pytest.fixture
def fashion(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 60).astype(np.uint8)
    write_idx(folder / "zipped", images, labels, zipped=True)
    write_idx(folder / "plain" / "FashionMNIST" / "raw", images, labels, zipped=False)
    return images, labels


def test_digits_are_the_real_ones_with_persons_of_several_records() -> None:
    table = load_records("digits")
    assert len(table) == len(set(table.record_ids)) == 1797
    assert table.features.shape == (1797, 64) and table.features.max() == 1.0
    owned = pd.Series(table.subject_ids).value_counts()
    assert owned.max() > 2 and owned.min() == 1
    assert load_records("digits").fingerprint == table.fingerprint
    assert load_records(table.source["name"], table.source["options"]).fingerprint == table.fingerprint


def test_fashion_mnist_is_the_same_from_each_kind_of_copy(fashion: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = fashion
    zipped = load_records("fashion_mnist", {"data_dir": "zipped"})
    plain = load_records("fashion_mnist", {"data_dir": "plain"})
    assert zipped.fingerprint == plain.fingerprint
    assert zipped.features.shape == (60, 1, 28, 28) and zipped.image_shape == (28, 28)
    # Each image kept its own label through the sort by id.
    of = {image.astype(np.uint8).tobytes(): label for image, label in zip(images, labels, strict=True)}
    drawn = np.rint(zipped.features[:, 0] * 255).astype(np.uint8)
    assert [of[image.tobytes()] for image in drawn] == zipped.targets.tolist()


def test_the_published_split_of_fashion_mnist_is_what_is_held_out(
    fashion: tuple[np.ndarray, np.ndarray], folder: Path
) -> None:
    images, labels = fashion
    write_idx(folder / "zipped", images[::-1][:9] // 2, labels[:9], zipped=True, part="t10k")
    options = {"data_dir": "zipped", "published_split": True}
    both = load_records("fashion_mnist", options)
    training, held_out = both.split(0.5, seed=3)
    alone = load_records("fashion_mnist", {"data_dir": "zipped"})
    assert training.record_ids == alone.record_ids and np.array_equal(training.features, alone.features)
    assert len(held_out) == 9 and set(held_out.record_ids) == both.held_out_ids
    gone = held_out.record_ids[0]
    fewer, left = both.without([gone, training.record_ids[0]]).split(0.5, seed=3)
    assert (len(fewer), left.record_ids) == (59, held_out.record_ids[1:]), "removing a record moves no other"
    assert load_records(both.source["name"], both.source["options"]).held_out_ids == both.held_out_ids


def test_a_limit_takes_records_by_their_content(fashion: tuple[np.ndarray, np.ndarray], folder: Path) -> None:
    images, labels = fashion
    write_idx(folder / "turned", images[::-1], labels[::-1], zipped=True)
    some = load_records("fashion_mnist", {"data_dir": "zipped", "limit": 20})
    assert len(some) == 20
    assert load_records("fashion_mnist", {"data_dir": "turned", "limit": 20}).fingerprint == some.fingerprint
    with pytest.raises(UsageError, match="limit is 61, but Fashion-MNIST has 60"):
        load_records("fashion_mnist", {"data_dir": "zipped", "limit": 61})


def test_pooled_pixels_are_means_and_the_records_stay_who_they_are(fashion: tuple[np.ndarray, np.ndarray]) -> None:
    whole = load_records("fashion_mnist", {"data_dir": "zipped", "limit": 20})
    small = load_records("fashion_mnist", {"data_dir": "zipped", "limit": 20, "pool": 4})
    assert small.record_ids == whole.record_ids and small.subject_ids == whole.subject_ids
    assert small.features.shape == (20, 1, 7, 7) and small.image_shape == (7, 7)
    by_hand = [[whole.features[3, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() for j in range(7)] for i in range(7)]
    np.testing.assert_allclose(small.features[3, 0], by_hand, rtol=1e-5)
    assert load_records(small.source["name"], small.source["options"]).fingerprint == small.fingerprint
    for pool in (0, 3, 56):
        with pytest.raises(UsageError, match=f"pool is {pool}, which does not divide 28"):
            load_records("fashion_mnist", {"data_dir": "zipped", "pool": pool})


@pytest.mark.parametrize(("spoil", "words"), [(lambda b: b[:-1], "cut short"), (lambda b: b"\x01" + b[1:], "no|not")])
def test_a_spoilt_idx_file_is_named(fashion: object, folder: Path, spoil: object, words: str) -> None:
    file = folder / "plain" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(spoil(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UsageError, match=f"train-images-idx3-ubyte is .*({words})"):
        load_records("fashion_mnist", {"data_dir": "plain"})


def test_no_copy_of_fashion_mnist(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("expunge.data.fashion_mnist.INSTALLED", folder / "not-installed")
    with pytest.raises(NotFoundError, match="dataset-fashion-mnist"):
        load_records("fashion_mnist")


def test_a_copy_in_the_projects_data_folder_comes_before_the_installed_one(
    fashion: tuple[np.ndarray, np.ndarray], folder: Path
) -> None:
    (folder / "plain").rename(folder / "data")
    assert (
        load_records("fashion_mnist").fingerprint == load_records("fashion_mnist", {"data_dir": "zipped"}).fingerprint
    )


def test_a_download_of_fashion_mnist_goes_to_the_projects_data_folder(
    fashion: tuple[np.ndarray, np.ndarray], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.data.fashion_mnist.INSTALLED", folder / "not-installed")
    asked = []

    def brought(self: object, root: str, train: bool, download: bool) -> None:
        asked.append(root)
        (folder / "plain" / "FashionMNIST").rename(Path(root) / "FashionMNIST")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", brought)
    (folder / "data").mkdir()
    found = load_records("fashion_mnist", {"download": True})
    assert asked == [str(folder / "data")]
    assert found.fingerprint == load_records("fashion_mnist", {"data_dir": "zipped"}).fingerprint
    load_records("fashion_mnist", {"download": True})
    assert len(asked) == 1, "what is there is not fetched again"


@pytest.fixture
def people() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "case": [f"{i:03d}" for i in range(40)],
            "person": [f"p{i // 3}" for i in range(40)],
            "age": rng.integers(18, 90, 40),
            "income": rng.lognormal(10, 1, 40),
            "town": rng.choice(["Bourne", "Athol", "Lynn"], 40),
            "works": rng.choice(["no", "yes"], 40),
        }
    )


COLUMNS = {"id": "case", "subject": "person", "target": "works"}


def test_csv_and_parquet_give_the_same_table(people: pd.DataFrame, folder: Path) -> None:
    people.to_csv(folder / "people.csv", index=False)
    people.sample(frac=1, random_state=0).to_parquet(folder / "people.parquet")
    a = load_records("tabular", {"path": "people.csv", **COLUMNS})
    b = load_records("tabular", {"path": "people.parquet", **COLUMNS})
    assert a.record_ids == b.record_ids and a.record_ids[7] == "007"
    assert a.subject_ids == b.subject_ids and a.of_subject("p0") == ("000", "001", "002")
    np.testing.assert_allclose(a.features, b.features, rtol=1e-6)
    assert a.features.shape == (40, 2 + 3) and a.class_names == ("no", "yes")
    assert (a.features[:, 2:].sum(axis=1) == 1).all()


def test_one_record_less_leaves_the_others_features_as_they_were(people: pd.DataFrame, folder: Path) -> None:
    """A scale that follows the data would carry an erased record on: rounded to powers of two it does not move."""
    people.to_parquet(folder / "all.parquet")
    table = load_records("tabular", {"path": "all.parquet", **COLUMNS})
    moved = 0
    for i in range(len(people)):
        people.drop(index=i).to_parquet(folder / "less.parquet")
        less = load_records("tabular", {"path": "less.parquet", **COLUMNS})
        moved += not np.array_equal(less.features, table.without([f"{i:03d}"]).features)
    exact = 0
    for i in range(len(people)):  # the negative control: scaled by mean and deviation, each record moves all
        rest = people["age"].drop(index=i)
        exact += rest.mean() != people["age"].mean()
    assert moved <= 2 and exact >= 35


def test_a_declared_scale_is_used(people: pd.DataFrame, folder: Path) -> None:
    people.to_csv(folder / "people.csv", index=False)
    options = {"path": "people.csv", **COLUMNS, "features": ["age"], "scale": {"age": [50, 20]}}
    table = load_records("tabular", options)
    np.testing.assert_allclose(table.features[:, 0], (people["age"].to_numpy() - 50) / 20, rtol=1e-6)


BROKEN = {
    "no options": ({}, "needs path, id, target"),
    "no id column": ({"path": "p.csv", "target": "works"}, "needs id"),
    "unknown column": ({**COLUMNS, "path": "p.csv", "subject": "persn"}, "no column 'persn'.* mean 'person'"),
    "unknown option": ({**COLUMNS, "path": "p.csv", "subjects": "person"}, "option 'subjects'.* mean 'subject'"),
    "ragged CSV": ({**COLUMNS, "path": "ragged.csv"}, "ragged.csv cannot be read as CSV"),
    "no CSV": ({**COLUMNS, "path": "binary.csv"}, "binary.csv cannot be read as CSV"),
    "empty CSV": ({**COLUMNS, "path": "empty.csv"}, "empty.csv cannot be read as CSV"),
    "no parquet": ({**COLUMNS, "path": "torn.parquet"}, "torn.parquet cannot be read as parquet"),
    "width 0": ({**COLUMNS, "path": "p.csv", "scale": {"age": [5, 0]}}, "scale of 'age' is"),
    "one number": ({**COLUMNS, "path": "p.csv", "scale": {"age": [5]}}, "positive width"),
    "missing value": ({**COLUMNS, "path": "gap.csv"}, "'age' has missing values"),
    "missing target": ({**COLUMNS, "path": "unlabelled.csv"}, "2 record.s. have no target"),
    "missing subject": ({**COLUMNS, "path": "unowned.csv"}, "1 record.s. have no subject id .first at row 4"),
    "one class": ({**COLUMNS, "path": "one.csv"}, "one class only"),
    "no record": ({**COLUMNS, "path": "none.csv"}, "no records"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_unusable_table_is_refused_in_words(people: pd.DataFrame, folder: Path, case: str) -> None:
    options, words = BROKEN[case]
    people.to_csv(folder / "p.csv", index=False)
    (folder / "ragged.csv").write_text("case,person\na,b\nc,d,e,f\n")
    (folder / "binary.csv").write_bytes(b"case,person,works\n\xff\xfe\x00\xd8,a,b\n")
    (folder / "empty.csv").write_text("")
    (folder / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    people.assign(age=people["age"].astype(float).where(people.index != 3)).to_csv(folder / "gap.csv", index=False)
    people.assign(works=people["works"].where(people.index > 1)).to_csv(folder / "unlabelled.csv", index=False)
    people.assign(person=people["person"].where(people.index != 4)).to_csv(folder / "unowned.csv", index=False)
    people.assign(works="yes").to_csv(folder / "one.csv", index=False)
    people.iloc[:0].to_csv(folder / "none.csv", index=False)
    with pytest.raises(UsageError, match=words):
        load_records("tabular", options)


def test_a_missing_file(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"No data file .*nowhere\.csv"):
        load_records("tabular", {"path": "nowhere.csv", **COLUMNS})


def test_a_function_of_ones_own(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "records.py").write_text(
        "import numpy as np\n\n\n"
        "def load(n=6, ids=True):\n"
        "    made = {'features': np.eye(n), 'targets': np.arange(n) % 2}\n"
        "    return {**made, 'record_ids': [f'r{i}' for i in range(n)]} if ids else made\n\n\n"
        "def number():\n    return 3\n\n\n"
        "def more():\n    return {**load(), 'colour': 1}\n"
    )
    table = load_records("mine.records:load", {"n": 8})
    assert len(table) == 8 and table.subject_ids == table.record_ids and table.classes == 2
    for name, options, words in (
        ("mine.records:load", {"ids": False}, "returned no record_ids"),
        ("mine.records:load", {"m": 1}, "Unknown option 'm'"),
        ("mine.records:number", {}, "returned int"),
        ("mine.records:more", {}, "'colour'"),
        ("mine/records:load", {}, "not of the form"),
    ):
        with pytest.raises(UsageError, match=words):
            load_records(name, options)
    for name, words in (("mine.records:lod", "no function 'lod'"), ("their.records:load", "Expected their/records.py")):
        with pytest.raises(NotFoundError, match=words):
            load_records(name)


def test_an_unknown_loader() -> None:
    with pytest.raises(UsageError, match="Did you mean 'fashion_mnist'"):
        load_records("fashion-mnist")
