"""What the evaluation is given: outputs of models, never the models, checked before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.canary_scores import CanaryScores
from expunge.evaluation.confidence import phi, temperatures
from expunge.evaluation.evidence import Level
from expunge.evaluation.loss_paths import BarrierPaths
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.shadows import PoolOutputs, ShadowOutputs

Array = NDArray[np.float64]
Index = NDArray[np.int64]
FEWEST_ORACLES = 3


@dataclass(frozen=True, eq=False)
class PlantedSet:
    """m records that the original certainly remembers, with models that never saw them: the sensitivity of a check.

    original [m, K]; oracles [R', m, K]; held_back [H', m, K] (not in the reference); targets [m]; difficulty [m] is
    optional and only used to match held-out records. All outputs are logits.
    """

    targets: Index
    original: Array
    oracles: Array
    held_back: Array
    difficulty: Array | None = None

    def __post_init__(self) -> None:
        m, classes = self.original.shape if self.original.ndim == 2 else (0, 0)
        if not m:
            raise UsageError("The planted set is empty or its outputs are not [m, K].", "Plant at least one record.")
        _shape("the planted targets", self.targets, (m,))
        _stack("the planted oracles", self.oracles, m, classes)
        _stack("the planted held-back oracles", self.held_back, m, classes)
        if len(self.oracles) < FEWEST_ORACLES:
            raise UsageError(f"The planted set has {len(self.oracles)} oracles.", f"Train at least {FEWEST_ORACLES}.")
        _finite("the planted outputs", self.original, self.oracles, self.held_back)
        if self.difficulty is not None:
            _shape("the planted difficulty", self.difficulty, (m,))
            _finite("the planted difficulty", self.difficulty)


@dataclass(frozen=True, eq=False)
class EvaluationInputs:
    """Outputs of every model on the same n records of K classes; logits, in eval mode.

    record_ids, targets [n]; forget, retain, held_out: row numbers (disjoint); original, unlearned [n, K];
    oracles [R, n, K]: retrained without the forget set, never used to choose or to stop, or [0, n, K] for evidence of a
    weaker level; held_back [H, n, K]: more of them outside the reference (positive controls); half_kept [M, n, K]:
    retrained with half of the forget set kept (power); difficulty [n]: minus phi of models that trained on neither
    side (cross-fitted); requests: request id -> positions within ``forget``; planted: see ``PlantedSet``; the ids name
    the models in the evidence. What only some checks read is optional: the reference pool's outputs, shadow models',
    loss barriers, canary scores. temperatures: by role, set by ``calibrated``; memo: see ``remember``.

    Raises:
        UsageError: shapes, NaN, an empty group, a class missing among held-out records, identical models.
    """

    record_ids: tuple[str, ...]
    targets: Index
    forget: Index
    retain: Index
    held_out: Index
    original: Array
    unlearned: Array
    oracles: Array
    held_back: Array
    half_kept: Array
    difficulty: Array
    requests: Mapping[str, Index] = field(default_factory=dict)
    planted: PlantedSet | None = None
    oracle_ids: tuple[str, ...] = ()
    held_back_ids: tuple[str, ...] = ()
    half_kept_ids: tuple[str, ...] = ()
    look_ids: tuple[str, ...] = ()
    pool: PoolOutputs | None = None
    shadows: ShadowOutputs | None = None
    barriers: BarrierPaths | None = None
    canaries: CanaryScores | None = None
    temperatures: Mapping[str, Array] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        if self.original.ndim != 2:
            raise UsageError(f"The original's outputs have shape {self.original.shape}.", "Give logits [n, K].")
        n, classes = self.original.shape
        if len(self.record_ids) != n or len(set(self.record_ids)) != n:
            raise UsageError(f"{n} outputs need {n} different record ids.", "One row is one record.")
        _shape("the targets", self.targets, (n,))
        _shape("the unlearned model's outputs", self.unlearned, (n, classes))
        _shape("the difficulty", self.difficulty, (n,))
        for name, stack in self._stacks().items():
            _stack(name, stack, n, classes)
            _finite(name, stack)
        _finite("the original's outputs", self.original)
        _finite("the unlearned model's outputs", self.unlearned)
        _finite("the difficulty", self.difficulty)
        if self.targets.min() < 0 or self.targets.max() >= classes:
            raise UsageError(f"Targets lie outside 0..{classes - 1}.", "The outputs and the classes do not match.")
        if 0 < len(self.oracles) < FEWEST_ORACLES:
            raise UsageError(
                f"{len(self.oracles)} oracles have no spread to judge by.",
                f"Train at least {MIN_ORACLES} (an indicative result needs {FEWEST_ORACLES}).",
            )
        self._check_groups(n)
        self._check_pool(n, classes)
        self._check_models()

    def _stacks(self) -> dict[str, Array]:
        return {
            "the oracles": self.oracles,
            "the held-back oracles": self.held_back,
            "the half-kept models": self.half_kept,
        }

    def _check_groups(self, n: int) -> None:
        seen: set[int] = set()
        for name, rows in (("forget", self.forget), ("retain", self.retain), ("held-out", self.held_out)):
            if rows.ndim != 1 or not rows.size:
                raise UsageError(f"There are no {name} records.", "Every group needs at least one record.")
            if rows.min() < 0 or rows.max() >= n:
                raise UsageError(f"The {name} rows lie outside 0..{n - 1}.", "Give row numbers.")
            own = set(rows.tolist())
            if len(own) != rows.size or own & seen:
                raise UsageError(f"A {name} record is in two groups or twice in one.", "The groups must be disjoint.")
            seen |= own
        missing = sorted(set(self.targets[self.forget].tolist()) - set(self.targets[self.held_out].tolist()))
        if missing:
            raise UsageError(
                f"No held-out record has class {', '.join(map(str, missing))}, which the forget set has.",
                "Hold out records of every class: unseen records to compare with are needed.",
            )
        for request, positions in self.requests.items():
            if not positions.size or positions.min() < 0 or positions.max() >= self.forget.size:
                raise UsageError(f"Request {request} points outside the forget set.", "Give positions within it.")

    def _check_pool(self, n: int, classes: int) -> None:
        if self.pool is None:
            return
        if self.pool.logits.shape[1:] != (n, classes) or not np.array_equal(self.pool.targets, self.targets):
            raise UsageError(
                "The pool's outputs are not on the records of the evaluation.", "Predict on the same rows."
            )
        if self.pool.trained[:, self.held_out].any():
            raise UsageError("A pool model trained on a held-out record.", "Held-out records must be unseen by all.")

    def _check_models(self) -> None:
        """Two models with the same bits are one model: ranking it would be ranking a copy."""
        names: dict[str, str] = {}
        for group, stack in self._stacks().items():
            for position, output in enumerate(stack):
                digest = hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()
                name = f"number {position + 1} of {group}"
                if digest in names:
                    raise UsageError(f"Identical models: {name} is {names[digest]}.", "Train each with its own seed.")
                names[digest] = name
        for role, output in (("unlearned model", self.unlearned), ("original", self.original)):
            digest = hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()
            if digest in names:
                raise UsageError(
                    f"Identical models: the {role} is {names[digest]}.", "A model cannot be its own reference."
                )

    @property
    def level(self) -> Level:
        """The highest level of evidence that these outputs can give."""
        if len(self.oracles):
            return "oracle"
        return "oracle-free" if self.pool is None else "pool"

    @property
    def indicative(self) -> bool:
        """Fewer oracles than a 5 % level needs: figures are indicative, no verdict."""
        return len(self.oracles) < MIN_ORACLES

    @cached_property
    def phi(self) -> dict[str, Array]:
        """Logit-scaled confidence: original, unlearned [n]; oracles [R, n]; held_back [H, n]; half_kept [M, n]."""
        stacks = {
            "original": self.original,
            "unlearned": self.unlearned,
            "oracles": self.oracles,
            "held_back": self.held_back,
            "half_kept": self.half_kept,
        }
        return {name: phi(output, self.targets) for name, output in stacks.items()}

    def calibrated(self) -> EvaluationInputs:
        """The same outputs, each model's logits divided by the temperature that fits its held-out records best.

        A temperature changes no answer and hides or shows memory for nobody but a test that compares confidences: it is
        taken out before models are compared, and stands beside the verdict as a check of its own.
        """
        if self.temperatures:
            return self
        rows = self.held_out
        found: dict[str, Array] = {}
        pool = self.pool

        def cooled(role: str, logits: Array) -> Array:
            stack = logits if logits.ndim == 3 else logits[None]
            found[role] = temperatures(stack[:, rows], self.targets[rows]) if len(stack) else np.ones(0)
            divided: Array = (stack / found[role][:, None, None]).reshape(logits.shape)
            return divided

        planted = self.planted
        if planted is not None and len(self.oracles):
            cooled("original", self.original)
            cooled("oracles", self.oracles)
            # Models of the same kind: the planted set's own held-out answers were not kept.
            usual = float(found["oracles"].mean())
            planted = replace(
                planted,
                original=planted.original / found["original"][0],
                oracles=planted.oracles / usual,
                held_back=planted.held_back / usual,
            )
        return replace(
            self,
            planted=planted,
            original=cooled("original", self.original),
            unlearned=cooled("unlearned", self.unlearned),
            oracles=cooled("oracles", self.oracles),
            held_back=cooled("held_back", self.held_back),
            half_kept=cooled("half_kept", self.half_kept),
            pool=None if pool is None else replace(pool, logits=cooled("pool", pool.logits)),
            temperatures=found,
        )

    def remember(self, name: str, make: Callable[[], Any], settings: EvaluationSettings) -> Any:
        """What does not depend on the unlearned model (the oracles' own values, say), worked out once by name.

        Only ``judging`` hands it on: other judges, made by ``replace``, start afresh.
        """
        key = f"{name} {settings.model_dump_json()}"
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def judging(self, unlearned: Array) -> EvaluationInputs:
        """Another unlearned model [n, K] before the same judges, which keep what they have worked out."""
        found = dict(self.temperatures)
        if found:
            rows = self.held_out
            found["unlearned"] = temperatures(unlearned[None, rows], self.targets[rows])
            unlearned = unlearned / found["unlearned"][0]
        other = replace(self, unlearned=unlearned, temperatures=found)
        object.__setattr__(other, "memo", self.memo)
        return other

    def forget_phi(self, role: str) -> Array:
        """phi of one role on the forget set: [..., m]."""
        return self.phi[role][..., self.forget]


def _shape(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UsageError(f"Shape of {name} is {array.shape}, not {shape}.", "All outputs are over the same records.")


def _stack(name: str, array: Array, n: int, classes: int) -> None:
    if array.ndim != 3 or array.shape[1:] != (n, classes):
        raise UsageError(
            f"Shape of {name} is {array.shape}, not (models, {n}, {classes}).", "All outputs are over the same records."
        )


def _finite(name: str, *arrays: Array) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise UsageError(f"There are NaN or infinite numbers in {name}.", "A model that outputs NaN has diverged.")
