"""Negative controls: everything that the harness claims to notice is done, and must be noticed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fault_harness import sabotage
from fault_harness.checks import at_end, look
from fault_harness.plan import ORDERINGS, Census, Fault, requests_for
from fault_harness.points import AFTER, Kill
from fault_harness.runs import Bench, Sabotage

_PROMOTED = Kill("promote_model | commit | ledger verified to promoted", 1, AFTER)
_END = Kill("close_requests | commit | ledger run is closed", 1)

WRONG_PROGRAMS: dict[str, tuple[str, Sabotage, Kill]] = {
    "purge before promotion": ("premature purge", sabotage.purge_before_promotion, sabotage.PURGE_TOO_EARLY),
    "close without a certificate": ("certificate", sabotage.close_without_certificate, _END),
    "unlearn again after the promotion": ("doubled", sabotage.unlearn_again_after_promotion, _PROMOTED),
}


def tampered(bench: Bench) -> Iterator[dict[str, Any]]:
    """One undisturbed run; then each wrong done to its result by itself."""
    bench.house.restore()
    requests = requests_for(ORDERINGS[2], bench.original, random.Random(1))
    bench.ask(requests)
    bench.must_answer("retrain")
    records = sorted({i for ids in requests.values() for i in ids})
    kept = bench.house.place / "finished"
    bench.house.save(kept)
    clean = at_end(look(bench.house), bench.original, requests, records)
    yield _row("nothing is wrong", "", clean, wanted=False)
    for name, (word, tamper) in sabotage.TAMPERS.items():
        bench.house.restore(kept)
        tamper(look(bench.house))
        yield _row(name, word, at_end(look(bench.house), bench.original, requests, records))


def missing(bench: Bench, census: Census, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run the controls of which there is no result yet."""
    done = {row["control"] for row in rows}
    if "nothing is wrong" not in done:
        yield from tampered(bench)
    for name, (word, wrong, kill) in WRONG_PROGRAMS.items():
        if name not in done:
            requests = requests_for(ORDERINGS[0], bench.original, random.Random(2))
            found = bench.run(Fault(0, "retrain", ORDERINGS[0], requests, (kill,)), wrong)
            yield _row(name, word, found.violations)


def _row(name: str, word: str, found: list[str], wanted: bool = True) -> dict[str, Any]:
    """The control is good when the violation was found, or when none was and none was wanted."""
    hits = [words for words in found if word and (words.startswith(word) or f": {word}" in words)]
    wrong = [] if bool(hits) == wanted and (wanted or not found) else [f"not noticed: {word}", *found]
    return {"control": name, "bit": (hits or ["nothing was found"])[0][:200], "violations": wrong}
