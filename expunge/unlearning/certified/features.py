"""What does the head see? Fixed features whose norms are bounded, which is what every constant rests on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError

Floats = npt.NDArray[np.float64]
Way = Literal["refuse", "clip", "normalise"]

# Norms are compared after rounding in float64
_SLACK = 1e-9


def bounded_features(features: Any, *, radius: float = 1.0, way: Way = "refuse", intercept: bool = True) -> Floats:
    """Rows with norms of at most `radius`, float64 [n, p] or, with an intercept, [n, p + 1].

    Each row is treated by itself: what is done to one record never depends on another, so the records that stay look
    the same whether or not the others were ever there. For the same reason the radius is a declared number, not one
    that was read off the data.

    Args:
        features: [n, ...], flattened per record. A feature extractor in front of the head must not have been trained
            on the records that may be asked back; the guarantee is about the head alone.
        radius: the largest norm of a row, intercept included.
        way: "refuse" raises when a row is longer; "clip" shortens the rows that are; "normalise" brings every row to
            the radius (a row of zeros stays).
        intercept: a constant column is added: half of the squared radius is the intercept's, the other half the
            features', which are clipped or normalised to it. The intercept is regularised like every other weight.

    Raises:
        UsageError: no rows, values that are not finite, a radius not above 0, or a row beyond the radius to refuse.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim < 2 or len(rows) == 0:
        raise UsageError(f"Features must have shape [records, features]; got {rows.shape}.")
    rows = rows.reshape(len(rows), -1)
    if not np.isfinite(rows).all():
        raise UsageError("Features must be finite.", "Drop or fill the missing values before the head sees them.")
    if not (np.isfinite(radius) and radius > 0):
        raise UsageError(f"radius must be a number above 0; got {radius!r}.")
    allowed = radius / np.sqrt(2.0) if intercept else radius
    norms = np.linalg.norm(rows, axis=1)
    if way == "refuse":
        if norms.max() > allowed * (1 + _SLACK):
            raise UsageError(
                f"Record {int(norms.argmax())} has features of norm {norms.max():.3g}, but {allowed:.3g} is declared.",
                'Use way="clip" or "normalise", or declare a larger radius: no certificate exists without a bound.',
            )
    elif way == "clip":
        rows = rows * np.minimum(1.0, allowed / np.maximum(norms, np.finfo(float).tiny))[:, None]
    elif way == "normalise":
        rows = rows * (allowed / np.where(norms > 0, norms, 1.0))[:, None]
    else:
        raise UsageError(f"way is {way!r}.", "Choose refuse, clip or normalise.")
    if intercept:
        rows = np.hstack([rows, np.full((len(rows), 1), allowed)])
    return np.ascontiguousarray(rows)
