"""What was found about the noise of arithmetic, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.reproduction.implicit_noise.arithmetic import Kind
from expunge.reproduction.implicit_noise.estimates import JUDGED, OVER_A_RECORD, Found, Measured

PRECISIONS: dict[Kind, str] = {
    "float32": "float32", "bfloat16": "bfloat16", "chance": "weights rounded to bfloat16 by coin",
}  # fmt: skip


def stated(found: Found, name: str) -> str:
    """An estimate with its interval, or why there is none."""
    estimate = found.numbers.get(name)
    return estimate.told() if estimate is not None else found.without[name]


def _nats(count: float) -> str:
    return f"{count:g} nat{'' if count == 1 else 's'}"


def sentences(measured: Measured, found: Found, nats: Sequence[float]) -> tuple[str, ...]:
    """The paragraphs of one data set."""
    return (
        _what_differs(measured),
        _how_large(measured, found),
        _what_it_is_worth(measured, found, nats),
        _how_it_grows(measured, found),
        _what_it_is(measured, found),
    )


def _what_differs(measured: Measured) -> str:
    config, count = measured.world.training, len(measured.originals)
    judged = measured.of_kind("float32", "bfloat16", "chance", "float64", "gpu")
    equal = [name for name in judged if measured.ways[name]["same"].all()]
    partly = [name for name in judged if not measured.ways[name]["same"].all() and not measured.parted(name)]
    repeats = measured.of_kind("repeat")
    differ = sum(int((~measured.ways[name]["same"]).sum()) for name in repeats)
    text = (
        f"{measured.world.name}: {count} runs of plain SGD ({config.steps} steps, batches of {config.batch_size}, one"
        f" thread) were repeated with the same start and the same batches in {len(judged)} other arithmetics."
        f" With the same settings (at once, in a new process, with two threads twice) {differ} of"
        f" {count * len(repeats)} repeats differed from the run they repeat in any bit."
    )
    if equal:
        text += f" Never different from the plain run were: {', '.join(equal)}."
    if partly:
        text += f" Different for some originals only: {', '.join(partly)}."
    return text


def _how_large(measured: Measured, found: Found) -> str:
    prefix = measured.world.name
    parts = []
    for kind in JUDGED:
        size = found.numbers.get(f"{prefix}: {kind}: log10 s")
        if size is None:
            parts.append(f"none for {PRECISIONS[kind]}, where no run differs")
        else:
            share = stated(found, f"{prefix}: {kind}: {OVER_A_RECORD}")
            parts.append(
                f"{size.told()} for {PRECISIONS[kind]} (log10 of its distance at the end over that of leaving out"
                f" a record: {share})"
            )
    errors = "; ".join(
        f"{name}: {stated(found, f'{prefix}: {name}: error of log10 s over the run')}"
        for name in measured.of_kind("known")
    )
    return (
        "As Gaussian noise on the sum of a batch's gradients, the largest differences amount to log10 s = "
        + "; ".join(parts)
        + f". Control: noise of known size was recovered from its runs with an error of log10 s of {errors}."
    )


def _what_it_is_worth(measured: Measured, found: Found, nats: Sequence[float]) -> str:
    prefix = measured.world.name
    parts = [
        f"10^({stated(found, f'{prefix}: {kind}: log10 median loss')}) nats for {PRECISIONS[kind]}"
        for kind in JUDGED if f"{prefix}: {kind}: log10 median loss" in found.numbers
    ]  # fmt: skip
    text = f"Were it Gaussian noise, the median record would lose {', '.join(parts)} at order 8." if parts else ""
    for each in nats:
        gaps = [
            f"{stated(found, name)} decades more than {PRECISIONS[kind]}"
            for kind in JUDGED if (name := f"{prefix}: {kind}: log10 gap to {each:g} nats") in found.numbers
        ]  # fmt: skip
        text += (
            f" A loss of {_nats(each)} needs log10 s = {stated(found, f'{prefix}: noise for {each:g} nats: log10 s')}"
            + (f", {', '.join(gaps)}" if gaps else "")
            + "; noise of that size took"
            f" {stated(found, f'{prefix}: noise for {each:g} nats: accuracy lost')} of held-out accuracy"
            f" ({stated(found, f'{prefix}: accuracy without noise')} without)."
        )
    return text.strip()


def _how_it_grows(measured: Measured, found: Found) -> str:
    prefix = measured.world.name
    return (
        f"A push of 1e-10 at the start grew by {stated(found, f'{prefix}: kick: e-foldings over the run')} e-foldings"
        f" over the run, {stated(found, f'{prefix}: kick: growth per step')} a step once settled. Larger noise"
        f" parted runs by up to {stated(found, f'{prefix}: excess over proportion')} decades more than in proportion"
        " to its size; with SiLU in place of ReLU by"
        f" {stated(found, f'{prefix}: excess over proportion without kinks')}. So distance between whole runs is"
        " amplified noise, not noise: it was turned into s by runs with known noise, which are amplified alike."
    )


def _what_it_is(measured: Measured, found: Found) -> str:
    prefix = measured.world.name
    parts = []
    for name in measured.measures:
        if f"{prefix}: {name}: dimension" not in found.numbers:
            parts.append(f"{name}: no error")
            continue
        parts.append(
            f"{name}: it spreads over {stated(found, f'{prefix}: {name}: dimension')} of the directions, leaves"
            f" {stated(found, f'{prefix}: {name}: untouched')} of the weights untouched (there"
            f" {stated(found, f'{prefix}: {name}: seen through')} of the records have a part of their gradient, and"
            f" noise that is zero there hides nothing of it), has an excess kurtosis of"
            f" {stated(found, f'{prefix}: {name}: kurtosis')}, and along a record's gradient its mean square is"
            f" {stated(found, f'{prefix}: {name}: along')} times that per weight (by so much would"
            " the loss be smaller, were it counted there)"
        )
    return (
        "The analysis asks for noise that is drawn at random, independent of the records, and of one size in all"
        " directions. Rounding error is a function of the weights and of the batch, the record in question included, as"
        " far as repeats agree. "
        + "; ".join(parts)
        + f". For contrast, drawing the batch spreads the sum of its gradients by log10 s ="
        f" {stated(found, f'{prefix}: batch sampling: log10 s')}; that spread is made of the records' own gradients,"
        " and the analysis counts the draw already, as the sampling rate q, so it cannot be counted again as noise."
    )


def answer(measured: Measured, found: Found, nats: Sequence[float]) -> str:
    """What came out on one data set, and what would change it."""
    prefix, wanted = measured.world.name, max(nats)
    gaps = {
        kind: found.numbers[name]
        for kind in JUDGED if (name := f"{prefix}: {kind}: log10 gap to {wanted:g} nats") in found.numbers
    }  # fmt: skip
    coin = gaps.pop("chance", None)
    differ = sum(int((~measured.ways[name]["same"]).sum()) for name in measured.of_kind("repeat"))
    enough = [kind for kind, gap in gaps.items() if gap.interval()[1] < 0]
    text = f"{prefix}: "
    if not gaps:
        text += "no; no arithmetic differed, so there is no noise."
    elif all(gap.interval()[0] > 0 for gap in gaps.values()):
        least = min(gaps.values(), key=lambda gap: gap.value)
        text += (
            "no; even counted as Gaussian noise, the differences measured here are too small for a loss of"
            f" {_nats(wanted)}, by {least.told()} decades of s where they are largest."
        )
    elif enough:
        text += f"their size would do for {_nats(wanted)} in {', '.join(PRECISIONS[kind] for kind in enough)}, were"
        text += " they Gaussian noise."
    else:
        text += f"undecided; the interval of some gap to {_nats(wanted)} holds 0."
    if not differ:
        text += " And plain SGD with its settings known leaves nothing to chance, so no loss is bounded at any size."
    text += _further_than_a_record(measured, found)
    short = any(gap.interval()[0] > 0 for gap in gaps.values())
    text += " What would change it: differences that a repeat does not reproduce, spread evenly over the weights"
    text += ", and larger by the gap." if short else "."
    if coin is not None and coin.interval()[0] > 0:
        text += (
            " Rounding by coin does not repeat itself, but its size depends on the weights, and it is short of the need"
            f" too, by {coin.told()} decades."
        )
    if not measured.of_kind("gpu"):
        text += " GPUs, whose sums may differ from run to run, were not measured."
    return text


def _further_than_a_record(measured: Measured, found: Found) -> str:
    """Where arithmetic moves the weights further than a record does; empty where it does not."""
    further = [
        PRECISIONS[kind] for kind in JUDGED if kind != "chance"
        and (ratio := found.numbers.get(f"{measured.world.name}: {kind}: {OVER_A_RECORD}")) and ratio.interval()[0] > 0
    ]  # fmt: skip
    if not further:
        return ""
    return (
        f" That runs part further by their arithmetic than by leaving out a record ({', '.join(further)}) is no"
        " protection: each of them can be computed again."
    )
