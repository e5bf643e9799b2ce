"""Which kernels did `expunge doctor --tune` find fastest here? A JSON file of the project, used until it is removed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.project import Project, current_project
from expunge.errors import IntegrityError, UsageError
from expunge.privacy.kernel_choice import KernelChoice

FORMAT = "expunge.kernels/1"
_REMEDY = "Time the kernels again with `expunge doctor --tune`, or go without: `expunge doctor --untune`."


@dataclass(frozen=True)
class KernelTable:
    """Kernel names by layer key (kind and shapes), and what they were timed with."""

    kernels: Mapping[str, str]
    made_with: Mapping[str, Any]

    @property
    def digest(self) -> str | None:
        """SHA-256 that stands with the scores; None for a table without a layer."""
        return KernelChoice(self.kernels).digest()


def circumstances(device: str) -> dict[str, Any]:
    """What a timing holds for: this processor, thread count, device and torch."""
    import torch

    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
    }


def save(table: KernelTable, project: Project | None = None) -> None:
    """Keep it, in place of an earlier one."""
    path = (project or current_project()).kernel_table
    body = {"format": FORMAT, "made_with": dict(table.made_with), "kernels": dict(table.kernels)}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(body | {"sha256": _digest(body)}, indent=1, sort_keys=True) + "\n")
    partial.replace(path)


def load(project: Project | None = None) -> KernelTable | None:
    """The project's table, or None. Raises IntegrityError for a file that is not what `save` wrote."""
    path = (project or current_project()).kernel_table
    if not path.is_file():
        return None
    try:
        body = json.loads(path.read_text())
        stated = body.pop("sha256")
        if body["format"] != FORMAT or stated != _digest(body):
            raise ValueError
        return KernelTable(body["kernels"], body["made_with"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"The kernel table {path} is not the file that was written.", _REMEDY) from None


def usable(device: str, project: Project | None = None) -> dict[str, str]:
    """Kernels by layer key for scoring here; empty without a table.

    Raises IntegrityError as `load`, UsageError for a table that was timed under other circumstances.
    """
    table = load(project)
    if table is None:
        return {}
    here = circumstances(device)
    for name, value in here.items():
        if table.made_with.get(name) != value:
            raise UsageError(
                f"The kernel table was timed with {name} {table.made_with.get(name)!r}, and this is {value!r}.", _REMEDY
            )
    return dict(table.kernels)


def remove(project: Project | None = None) -> bool:
    """Go by the cost model again. Returns whether there was a table."""
    path = (project or current_project()).kernel_table
    there = path.is_file()
    path.unlink(missing_ok=True)
    return there


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
