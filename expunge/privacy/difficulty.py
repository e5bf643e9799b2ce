"""How hard is a record to forget, by the measures that privacy loss is compared with? METHOD section 8.

Each gives one number per record, [n], LARGER for harder; the one that points the other way in its source says so.
Arrays only: norms from `GradientNorms`, logits from `logits_along.trajectory_logits`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax

from expunge.errors import UsageError, nearest
from expunge.privacy.composition import as_array

Floats = npt.NDArray[np.float64]


def average_gradient_norm(norms: Any) -> Floats:
    """Mean over checkpoints of the gradient norms [n, c]."""
    return _table(norms, 2, "norms must have shape [records, checkpoints]").mean(axis=1)


def final_gradient_norm(norms: Any) -> Floats:
    """Gradient norm at the last of the checkpoints [n, c]."""
    return _table(norms, 2, "norms must have shape [records, checkpoints]")[:, -1]


def grand(early_norms: Any) -> Floats:
    """GraNd: gradient norm early in training, averaged over seeds [seeds, n].

    Paul, Ganguli, Dziugaite 2021 (arXiv 2107.07075), section 2; the gradient is that of the loss over all weights.
    """
    return _table(early_norms, 2, "early_norms must have shape [seeds, records]").mean(axis=0)


def el2n(early_logits: Any, targets: Any) -> Floats:
    """EL2N: ||softmax(logits) - onehot(target)||_2, averaged over seeds; 0 to sqrt(2).

    Paul, Ganguli, Dziugaite 2021 (arXiv 2107.07075), section 2.

    Args:
        early_logits: logits early in training, [seeds, n, classes]. targets: class numbers [n].
    """
    logits, at = _logits(early_logits, targets)
    error = softmax(logits, axis=2)
    error[:, np.arange(len(at)), at] -= 1
    result: Floats = np.linalg.norm(error, axis=2).mean(axis=0)
    return result


def c_proxy(logits: Any, targets: Any) -> Floats:
    """One minus the probability of the true class averaged over checkpoints; 0 to 1.

    The C-score proxy of Jiang, Zhang, Talwar, Mozer 2021 (arXiv 2002.03206) is the probability itself, high for EASY
    records: here it is taken from one.

    Args:
        logits: at checkpoints during training, [checkpoints, n, classes]. targets: class numbers [n].
    """
    table, at = _logits(logits, targets)
    return 1 - softmax(table, axis=2)[:, np.arange(len(at)), at].mean(axis=0)


def held_out_loss(logits: Any, targets: Any, trained_on: Any) -> Floats:
    """Mean cross-entropy under the models that did not train on the record.

    Args:
        logits: of several models, [models, n, classes]. targets: class numbers [n].
        trained_on: whether each model trained on each record, bool [models, n].

    Raises:
        UsageError: also where some record was trained on by every model.
    """
    table, at = _logits(logits, targets)
    trained = as_array(trained_on)
    if trained.dtype != np.bool_ or trained.shape != table.shape[:2]:
        raise UsageError(f"trained_on must be bool {table.shape[:2]} [models, records]; got {trained.shape}.")
    others = (~trained).sum(axis=0)
    if np.any(others == 0):
        raise UsageError(
            f"{int((others == 0).sum())} records were trained on by every model; the first is in row "
            f"{int(np.argmin(others))}.",
            "Train models that leave out random blocks of the records, so that each is left out by some.",
        )
    losses = -log_softmax(table, axis=2)[:, np.arange(len(at)), at]
    result: Floats = np.where(trained, 0.0, losses).sum(axis=0) / others
    return result


def random_difficulty(records: int, seed: int) -> Floats:
    """Uniform numbers in [0, 1): the control that knows nothing; same seed, same numbers."""
    if records < 0:
        raise UsageError(f"records must be zero or more; got {records}.")
    return np.random.default_rng(seed).random(records)


BASELINES = MappingProxyType[str, Callable[..., Floats]](
    {
        "average_gradient_norm": average_gradient_norm,
        "final_gradient_norm": final_gradient_norm,
        "grand": grand,
        "el2n": el2n,
        "c_proxy": c_proxy,
        "held_out_loss": held_out_loss,
        "random": random_difficulty,
    }
)
"""Every baseline by name."""


def find_baseline(name: str) -> Callable[..., Floats]:
    """The baseline of that name. Raises UsageError, naming the nearest, for another."""
    if name not in BASELINES:
        raise UsageError(f"There is no difficulty baseline {name!r}.", nearest(name, list(BASELINES)))
    return BASELINES[name]


def _table(values: Any, axes: int, rule: str) -> Floats:
    array = as_array(values).astype(np.float64)
    if array.ndim != axes or array.size == 0:
        raise UsageError(f"{rule}; got {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise UsageError("There are values that are not finite numbers.", "Check where training diverged.")
    return array


def _logits(logits: Any, targets: Any) -> tuple[Floats, npt.NDArray[Any]]:
    table = _table(logits, 3, "logits must have shape [runs or checkpoints, records, classes]")
    at = as_array(targets)
    if at.shape != table.shape[1:2] or not np.issubdtype(at.dtype, np.integer):
        raise UsageError(f"targets must be class numbers [{table.shape[1]}]; got {at.dtype} {at.shape}.")
    if at.min() < 0 or at.max() >= table.shape[2]:
        raise UsageError(f"A target is outside 0..{table.shape[2] - 1}, the classes of the logits.")
    return table, at
