"""How is a scenario declared? configs/reproduce/NAME.yaml: data, model, training, sizes, and the rules of judgement."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from expunge.data.registry import LOADERS
from expunge.errors import NotFoundError, UsageError, nearest
from expunge.reproduction.rules import Rule
from expunge.training.config import Strict, TrainingConfig

Options = TypeVar("Options", bound=Strict)
# Begins the name of an estimate over several data sets, as a data set's name begins those of its own.
EVERYWHERE = "all data sets"
# Fewer originals than this support no claim about a method (METHOD section 7).
FEWEST_ORIGINALS = 5


class DataChoice(Strict):
    """A loader or "package.module:function" with its options, and how many records train and are held out."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    train: int = Field(gt=1)
    held_out: int = Field(gt=0)


class ModelChoice(Strict):
    """A factory or "package.module:function" with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class WorldConfig(Strict):
    """A data set with its model and training. `training.seed` is replaced by each original's own."""

    data: DataChoice
    model: ModelChoice
    training: TrainingConfig
    device: str = Field(
        default="cpu", pattern=r"^(cpu|cuda(:\d+)?|auto)$", description="auto: a GPU where there is one"
    )

    @model_validator(mode="after")
    def _batches_fit(self) -> WorldConfig:
        if self.training.batch_size > self.data.train:
            raise ValueError(f"a batch of {self.training.batch_size} is more than the {self.data.train} records")
        return self


class ScenarioConfig(Strict):
    """One scenario.

    Attributes:
        title, question: of the results, in words. originals: independent trained models, the seeds of every interval.
        measure: "package.module:function" of a scenario of your own; default: the one of this name that ships.
        worlds: data sets by name. options: sizes of the scenario's own, checked by its module.
        pilots: what was changed after pilots had been seen, so that a reader knows which rules were not written blind.
        partial: some data sets of the declaration were left out, by `--only` or `--set`.
        quick: what `--quick` changes, as dotted keys (`worlds.digits.training.steps: 100`); null removes a key.
    """

    scenario: str
    title: str
    question: str
    measure: str | None = None
    originals: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    worlds: dict[str, WorldConfig]
    options: dict[str, Any] = Field(default_factory=dict)
    rules: tuple[Rule, ...]
    pilots: str = ""
    partial: bool = False
    quick: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_worlds(self) -> ScenarioConfig:
        if not self.worlds:
            raise ValueError("a scenario needs at least one data set under worlds")
        return self

    def digest(self) -> str:
        """SHA-256 of the whole declaration in canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def measured(self) -> dict[str, Any]:
        """What parts depend on: not words and rules, which can be mended without measuring again."""
        found = self.model_dump(mode="json", include={"scenario", "measure", "originals", "seed", "worlds", "options"})
        for world in found["worlds"].values():
            world["data"]["options"].pop("download", None)  # fetches the data, and chooses no record
        return found


def load_scenario(
    path: Path,
    quick: bool = False,
    overrides: Iterable[str] = (),
    only: Iterable[str] = (),
    data_dir: Path | None = None,
) -> ScenarioConfig:
    """Read a scenario's YAML.

    Args:
        quick: apply its `quick` section. overrides: `key.path=value`, applied last. only: keep these data sets; rules
            that name another data set (contrasts "NAME: ...") are left out with them. data_dir: where loaders that take
            such a folder look.

    Raises NotFoundError for a missing file or data set, UsageError for an unknown key or a value out of range.
    """
    if not path.is_file():
        raise NotFoundError(f"No scenario {path}.", "`expunge reproduce --list` names those that ship.")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path} holds no scenario.", "Start from one of configs/reproduce/.")
    if quick:
        raw = with_changes(raw, raw.get("quick") or {}, f"{path}: quick")
    declared = list(raw.get("worlds") or {})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {override!r} is not of the form key.path=value.")
        _set(raw, key.split("."), yaml.safe_load(value), f"--set {override!r}")
    _keep_only(raw, list(only), path)
    raw["partial"] = any(name not in (raw.get("worlds") or {}) for name in declared)
    _spread_rules(raw, path)
    _look_in(raw, data_dir)
    try:
        return ScenarioConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {place}: {first['msg']}.", f"It is {first['input']!r} now.") from None


def _keep_only(raw: dict[str, Any], only: list[str], path: Path) -> None:
    if not only:
        return
    worlds = raw.get("worlds") or {}
    for name in only:
        if name not in worlds:
            raise NotFoundError(f"{path} has no data set {name!r}.", nearest(name, list(worlds)))
    dropped = [name for name in worlds if name not in only]
    raw["worlds"] = {name: world for name, world in worlds.items() if name in only}
    rules = raw.get("rules") or []
    raw["rules"] = [r for r in rules if not any(str(r.get("contrast")).startswith(f"{name}: ") for name in dropped)]


def _spread_rules(raw: dict[str, Any], path: Path) -> None:
    """A rule of "{data}" becomes one of each data set. What is no list of rules is left for the check that follows."""
    rules, worlds = raw.get("rules"), raw.get("worlds") or {}
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        return
    spread: list[dict[str, Any]] = []
    for rule in rules:
        if "{data}" in str(rule.get("contrast")):
            spread += [
                {key: value.replace("{data}", name) if isinstance(value, str) else value for key, value in rule.items()}
                for name in worlds
            ]
        elif any("{data}" in str(value) for value in rule.values()):
            raise UsageError(
                f"{path}: the rule {rule.get('claim')!r} speaks of {{data}}, and its contrast does not.",
                "Write {data} into the contrast, or name the data set.",
            )
        else:
            spread.append(rule)
    raw["rules"] = spread


def _look_in(raw: dict[str, Any], folder: Path | None) -> None:
    if folder is None:
        return
    if not folder.is_dir():
        raise NotFoundError(f"No folder {folder}.", "Give the folder that holds the data set's files.")
    taking = [
        world["data"]
        for world in (raw.get("worlds") or {}).values()
        if "data_dir" in signature(LOADERS.get(world["data"]["name"], dict)).parameters
    ]
    if not taking:
        raise UsageError("None of these data sets is read from a folder.", "Leave --data-dir out.")
    for data in taking:
        data.setdefault("options", {})["data_dir"] = str(folder.absolute())


def _set(raw: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    at: Any = raw
    for part in path[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at
        if not isinstance(at, dict):
            raise UsageError(f"{where}: {part!r} is no section.")
    if value is None:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value


def with_changes(raw: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A declaration with dotted keys changed; null removes one. Raises UsageError for a key below no section."""
    changed: dict[str, Any] = copy.deepcopy(dict(raw))
    for key, value in changes.items():
        _set(changed, str(key).split("."), value, where)
    return changed


def checked_options(kind: type[Options], options: Mapping[str, Any], where: str) -> Options:
    """A scenario's own options. Raises UsageError, with the nearest key for an unknown one."""
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][-1]) if first["loc"] else ""
        hint = nearest(name, list(kind.model_fields)) if first["type"] == "extra_forbidden" else ""
        raise UsageError(f"{where}: options.{name}: {first['msg']}.", hint) from None
