"""Is a table of timed kernels used where it was timed, and refused in words anywhere else?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters import kernel_table
from adapters.kernel_table import KernelTable, circumstances
from adapters.project import Project
from expunge.errors import IntegrityError, UsageError
from expunge.privacy.kernel_choice import KernelChoice

KERNELS = {"convolution 3 x 3": "grouped", "product 4 x 8": "Gram"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / ".expunge").mkdir()
    return Project(tmp_path)


def keep(project: Project, **other: Any) -> KernelTable:
    made = KernelTable(KERNELS, circumstances("cpu") | other)
    kernel_table.save(made, project)
    return made


def test_without_a_table_the_cost_model_chooses(project: Project) -> None:
    assert kernel_table.load(project) is None and kernel_table.usable("cpu", project) == {}
    assert kernel_table.remove(project) is False


def test_a_table_is_used_where_it_was_timed_and_named_by_its_digest(project: Project) -> None:
    made = keep(project)
    assert kernel_table.load(project) == made and kernel_table.usable("cpu", project) == KERNELS
    assert made.digest == KernelChoice(KERNELS).digest()
    assert kernel_table.remove(project) is True and kernel_table.usable("cpu", project) == {}


@pytest.mark.parametrize("other", [{"threads": 99}, {"torch": "1.0"}, {"processor": "m68k"}, {"device": "cuda:0"}])
def test_a_table_of_other_circumstances_is_refused(project: Project, other: dict[str, Any]) -> None:
    keep(project, **other)
    with pytest.raises(UsageError, match=f"{next(iter(other))}.*--tune"):
        kernel_table.usable("cpu", project)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": "x", "format": "expunge.kernels/1"}'])
def test_a_table_that_cannot_be_read_is_refused_by_name(project: Project, content: str) -> None:
    project.kernel_table.write_text(content)
    with pytest.raises(IntegrityError, match=r"kernels\.json.*--untune"):
        kernel_table.load(project)


def test_one_changed_letter_is_noticed(project: Project) -> None:
    keep(project)
    project.kernel_table.write_text(project.kernel_table.read_text().replace("Gram", "Grim"))
    with pytest.raises(IntegrityError):
        kernel_table.usable("cpu", project)
