"""Starts the verifier: `python -m verify CERTIFICATE`, `python verify CERTIFICATE`, or the path of this file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _command() -> ModuleType:
    """The command module; started as a folder or a file, the folder becomes the package `verify` first.

    The folder's parent is never put on the path, so nothing beside it can be imported by accident.
    """
    if __package__:
        return importlib.import_module(f"{__package__}.command")
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "verify", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["verify"] = package
    spec.loader.exec_module(package)
    return importlib.import_module("verify.command")


_module = _command()
main, describe = _module.main, _module.describe

if __name__ == "__main__":
    sys.exit(main())
