"""Which loader makes the records? By name, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from expunge.data.census import load_census_employment
from expunge.data.cifar10 import load_cifar10
from expunge.data.digits import load_digits
from expunge.data.fashion_mnist import load_fashion_mnist
from expunge.data.record_table import RecordTable, make_table
from expunge.data.svhn import load_svhn
from expunge.data.tabular import load_tabular
from expunge.errors import UsageError, nearest
from expunge.functions import check_options, load_function, project_root

LOADERS: dict[str, Callable[..., RecordTable]] = {
    "census_employment": load_census_employment,
    "cifar10": load_cifar10,
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "svhn": load_svhn,
    "tabular": load_tabular,
}


def load_records(name: str, options: Mapping[str, Any] | None = None) -> RecordTable:
    """Load a data set by loader name or "package.module:function".

    A function of the user's own returns a RecordTable, or a mapping with features, targets, record_ids and, if
    wanted, subject_ids, classes, class_names, image_shape. Raises UsageError for an unknown loader or option.
    """
    options = dict(options or {})
    if ":" in name:
        return _from_function(name, options)
    if name not in LOADERS:
        raise UsageError(f"Unknown data set {name!r}.", nearest(name, list(LOADERS)))
    check_options(f"data set {name!r}", LOADERS[name], options)
    for key in ("path", "data_dir", "file"):
        if isinstance(options.get(key), str):
            options[key] = str(project_root() / Path(options[key]).expanduser())
    return LOADERS[name](**options)


def _from_function(name: str, options: dict[str, Any]) -> RecordTable:
    function = load_function(name)
    check_options(f"data set {name!r}", function, options)
    made = function(**options)
    source = {"name": name, "options": options}
    if isinstance(made, RecordTable):
        return replace(made, source=source)
    if not isinstance(made, Mapping):
        raise UsageError(
            f"{name} returned {type(made).__name__}.",
            "Return a mapping with features, targets and record_ids (subject_ids if one subject owns several).",
        )
    missing = {"features", "targets", "record_ids"} - set(made)
    if missing:
        raise UsageError(
            f"{name} returned no {', '.join(sorted(missing))}.",
            "Every record needs features, a target and a stable id of its own.",
        )
    columns = {"name": name, **made, "source": source}
    check_options(f"the table that {name} returns", make_table, columns)
    return make_table(**columns)
