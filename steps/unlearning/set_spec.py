"""How is a forget set written on the command line? KIND:VALUE, such as hardest:0.05, bin:4/5, random:100."""

from __future__ import annotations

from typing import Any

from expunge.errors import UsageError, nearest
from expunge.privacy.forget_sets import ForgetSet, build_forget_set
from expunge.privacy.scores import PrivacyLosses

KINDS = ("hardest", "easiest", "random", "bin", "records", "requests")


def parse_set(spec: str, losses: PrivacyLosses, seed: int) -> ForgetSet:
    """The forget set that a text stands for: hardest:SHARE|COUNT, easiest:..., random:..., bin:K/N.

    Raises UsageError for a text that is none.
    """
    kind, _, value = spec.partition(":")
    if kind not in KINDS:
        raise UsageError(f"Unknown kind of set {kind!r}.", nearest(kind, list(KINDS)))
    try:
        if kind == "bin":
            index, _, bins = value.partition("/")
            return build_forget_set("quantile_bin", losses, bin_index=int(index), bins=int(bins or 5), seed=seed)
        size: dict[str, Any] = {"size": int(value)} if value.isdigit() else {"fraction": float(value)}
    except ValueError:
        raise UsageError(
            f"{spec!r} is not a set.", "Write hardest:0.05 (a share), random:100 (a count) or bin:4/5."
        ) from None
    if kind == "hardest":
        return build_forget_set("hardest", losses, seed=seed, **size)
    if kind == "easiest":
        return build_forget_set("easiest", losses, seed=seed, **size)
    return build_forget_set("random", losses, seed=seed, **size)
