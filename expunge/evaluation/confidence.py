"""What a logit says about a record: phi, true-class confidence, loss, margin, predicted label, accuracy.

Shapes: logits [..., n, K] of K >= 2 classes and integer targets [n] give arrays [..., n]. float64 throughout.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp
from scipy.stats import beta, norm

from expunge.errors import UsageError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
GOLDEN = (5**0.5 - 1) / 2
LIMIT = 4.0
SEARCH_STEPS = 30


def _checked(logits: ArrayLike, targets: ArrayLike) -> tuple[Array, IntArray]:
    z = np.asarray(logits, dtype=np.float64)
    y = np.asarray(targets)
    if z.ndim < 2 or y.shape != (z.shape[-2],):
        raise UsageError(
            f"Logits of shape {z.shape} do not go with targets of shape {y.shape}.", "Give [..., n, K] and [n]."
        )
    if z.shape[-1] < 2:
        raise UsageError("Outputs need at least two classes.", "Give one logit a class.")
    if y.size and (y.min() < 0 or y.max() >= z.shape[-1]):
        raise UsageError(f"Targets lie outside 0..{z.shape[-1] - 1}.", "The outputs and the classes do not match.")
    return z, y.astype(np.int64)


def _true_logit(z: Array, y: IntArray) -> Array:
    index = np.broadcast_to(y[:, None], (*z.shape[:-1], 1))
    return np.take_along_axis(z, index, axis=-1)[..., 0]


def _others(z: Array, y: IntArray) -> Array:
    own = np.arange(z.shape[-1]) == y[:, None]
    return np.where(own, -np.inf, z)


def phi(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Logit-scaled confidence, logit_y - logsumexp(the other logits): [..., n, K] -> [..., n], natural log.

    Stable where a softmax would saturate (METHOD section 7; Carlini et al. 2022).

    Raises:
        UsageError: shapes do not match, or fewer than two classes.
    """
    z, y = _checked(logits, targets)
    result: Array = _true_logit(z, y) - logsumexp(_others(z, y), axis=-1)
    return result


def true_class_confidence(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Probability of the true class: [..., n, K] -> [..., n] in [0, 1]."""
    result: Array = expit(phi(logits, targets))
    return result


def loss(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Cross-entropy in nats, log(1 + exp(-phi)): [..., n, K] -> [..., n]."""
    result: Array = np.logaddexp(0.0, -phi(logits, targets))
    return result


def margin(logits: ArrayLike, targets: ArrayLike) -> Array:
    """True logit minus the largest other one: [..., n, K] -> [..., n]; negative where the label is wrong."""
    z, y = _checked(logits, targets)
    result: Array = _true_logit(z, y) - _others(z, y).max(axis=-1)
    return result


def predicted_label(logits: ArrayLike) -> IntArray:
    """Class with the largest logit: [..., n, K] -> [..., n]."""
    return np.asarray(logits).argmax(axis=-1).astype(np.int64)


def accuracy(logits: ArrayLike, targets: ArrayLike) -> Any:
    """Share of records whose predicted label is right: [..., n, K] -> [...] (a float for one model).

    Raises:
        UsageError: no records, or shapes do not match.
    """
    z, y = _checked(logits, targets)
    if not y.size:
        raise UsageError("Accuracy of no records is undefined.", "Give at least one record.")
    share = (predicted_label(z) == y).mean(axis=-1)
    return float(share) if share.ndim == 0 else share


def share_interval(
    successes: int, trials: int, confidence: float = 0.95, method: Literal["wilson", "clopper-pearson"] = "wilson"
) -> tuple[float, float]:
    """Two-sided interval of a binomial share: Wilson's score interval or the exact one of Clopper and Pearson.

    Raises:
        UsageError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise UsageError(f"{successes} of {trials} is not a share.", "Count successes among at least one trial.")
    if method == "clopper-pearson":
        tail = (1 - confidence) / 2
        low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
        high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
        return low, high
    z = float(norm.ppf(0.5 + confidence / 2))
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def temperatures(logits: ArrayLike, targets: ArrayLike) -> Array:
    """Temperature of least cross-entropy for each model, logits [M, n, K] -> [M] (Guo et al. 2017, section 4.2).

    Golden-section search over its logarithm, within e^-4 and e^4: a model whose answers say nothing has no temperature.
    """
    z, y = _checked(logits, targets)
    own = _true_logit(z, y)

    def nll(log_sharpness: Array) -> Array:
        sharpness = np.exp(log_sharpness)[:, None]
        result: Array = (logsumexp(z * sharpness[..., None], axis=-1) - own * sharpness).mean(axis=-1)
        return result

    low, high = np.full(len(z), -LIMIT), np.full(len(z), LIMIT)
    for _ in range(SEARCH_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        down = nll(left) < nll(right)
        high, low = np.where(down, right, high), np.where(down, low, left)
    result: Array = np.exp(-(low + high) / 2)
    return result
