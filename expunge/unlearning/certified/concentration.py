"""What is E exp(c F^2) of a function of the noise, at most? The moment generating function both bounds rest on.

F >= 0 a function of independent standard normals with Lipschitz constant sqrt(v): E exp(h (F - EF)) <= exp(h^2 v/2)
(Tsirelson, Ibragimov and Sudakov; Boucheron, Lugosi, Massart 2013, theorem 5.5). With exp(c F^2) = E_g exp(sqrt(2c) g
F), g standard normal, and EF <= m:

    ln E exp(c F^2) <= c m^2 / (1 - 2 c v) - ln(1 - 2 c v) / 2        for 2 c v < 1, otherwise unknown (inf).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def log_square_moment(coefficient: npt.ArrayLike, mean: npt.ArrayLike, proxy: npt.ArrayLike) -> Floats:
    """ln E exp(c F^2), at most; c = coefficient >= 0, mean >= EF >= 0, proxy = v >= 0, broadcast together."""
    c, m, v = np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in (coefficient, mean, proxy)))
    left = 1 - 2 * c * v
    known = left > 0
    safe = np.where(known, left, 1.0)
    return np.where(known, c * m**2 / safe - np.log(safe) / 2, np.inf)
