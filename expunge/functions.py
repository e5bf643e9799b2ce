"""How is a user's own "package.module:function" found? From its file, under a private name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from expunge.errors import NotFoundError, UsageError, nearest

_root = Path.cwd()


def set_project_root(folder: Path) -> None:
    """Folder in which relative paths and "package.module:function" are looked up first."""
    global _root
    _root = folder.resolve()


def project_root() -> Path:
    """The folder set by `set_project_root`, at first the working directory."""
    return _root


def load_function(spec: str) -> Callable[..., Any]:
    """The function named by "package.module:function".

    The module is read from its file below the project folder, under a private name: a user's folder may hold its
    own `pipelines/` or `steps/` and shadows nothing. Without such a file an installed package is imported.
    Raises UsageError for a malformed name, NotFoundError when module or function do not exist.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute or not all(p.isidentifier() for p in module_name.split(".")):
        raise UsageError(f"{spec!r} is not of the form package.module:function.")
    module = _from_file(module_name) or _from_installed(module_name, spec)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise NotFoundError(f"{module_name} has no function {attribute!r}.", f"Looked in {module.__file__}.")
    return function


def check_options(what: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that a function does not take, or one it needs and did not get."""
    parameters = dict(inspect.signature(function).parameters)
    named = {k: p for k, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in options:
            if key not in named:
                raise UsageError(f"Unknown option {key!r} for {what}.", nearest(key, list(named)))
    missing = [k for k, p in named.items() if p.default is p.empty and k not in options]
    if missing:
        raise UsageError(f"{what[0].upper()}{what[1:]} needs {', '.join(missing)}.", "Set it in the options.")


def _from_file(module_name: str) -> ModuleType | None:
    base = project_root().joinpath(*module_name.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            private = "_expunge_user_" + hashlib.sha256(str(file).encode()).hexdigest()[:12]
            if private in sys.modules:
                return sys.modules[private]
            spec = importlib.util.spec_from_file_location(private, file)
            if spec is None or spec.loader is None:
                return None
            module = importlib.util.module_from_spec(spec)
            sys.modules[private] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[private]
                raise
            return module
    return None


def _from_installed(module_name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise NotFoundError(
            f"No module {module_name!r} for {spec!r}: {error}.",
            f"Expected {module_name.replace('.', '/')}.py below {project_root()}, or an installed package.",
        ) from None
