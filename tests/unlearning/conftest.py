"""The small calibrated model that several tests of unlearning look at, and leave as it is."""

from __future__ import annotations

from typing import Any

import pytest
from planned import calibrated_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return calibrated_world(tmp_path_factory.mktemp("original"))
