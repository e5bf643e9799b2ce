"""One fault from the start to the verdict: restore, ask, kill, check, start again, check."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from fault_harness import zygote
from fault_harness.checks import Look, Original, always, at_end, look
from fault_harness.house import MODES, House
from fault_harness.plan import ORDERINGS, Census, Fault, requests_for
from fault_harness.points import Kill, Recorder

Sabotage = Callable[[], None]


@dataclass
class Result:
    """What came of a fault. `killed`: whether each kill was reached; `stood`: the requests' states after each."""

    fault: dict[str, Any]
    killed: list[bool] = field(default_factory=list)
    stood: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.fault,
            "killed": self.killed,
            "stood": self.stood,
            "violations": self.violations,
            "seconds": round(self.seconds, 2),
            "cpu": round(self.cpu, 2),
        }


class Bench:
    """A furnished house, what was in it, and the means to run faults in it."""

    def __init__(self, place: Path) -> None:
        self.house = House(place)
        self.log = place / "log.txt"
        self.original: Original
        self.modules: list[str] = []

    def prepare(self) -> None:
        """Train, score and calibrate once, keep that, and import what a whole run imports."""
        self.house.furnish()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        zygote.warm_up(self.house)
        modules = self.house.place / "modules.json"
        for verb in (("train", "-c", str(self.house.scenario)), ("score",), ("calibrate",)):

            def action(verb: Sequence[str] = verb) -> int:
                code = zygote.expunge(self.house, *verb)
                modules.write_text(json.dumps(sorted(sys.modules)))
                return code

            self._must(action, " ".join(verb))
            self.learn(json.loads(modules.read_text()))
        for left in (self.house.state / "work").glob("*"):
            raise RuntimeError(f"the preparation left {left}")
        self.house.save()
        self.original = Original.of(self.house)

    def census(self, modes: Sequence[str] = tuple(MODES)) -> Census:
        """One whole run a mode with every kind of request: all its points. Checks the end of each, too."""
        found: dict[str, list[str]] = {}
        for mode in modes:
            self.house.restore()
            requests = requests_for(ORDERINGS[-1], self.original, random.Random(0))
            self.ask(requests)
            file, modules = self.house.place / f"census-{mode}.json", self.house.place / "modules.json"

            def action(mode: str = mode, file: Path = file, modules: Path = modules) -> int:
                recorder = Recorder(self.house)
                recorder.arm()
                code = self.due(mode)
                recorder.write_census(file)
                modules.write_text(json.dumps(sorted(sys.modules)))
                return code

            self._must(action, f"the census of {mode}")
            self.learn(json.loads(modules.read_text()))
            found[mode] = json.loads(file.read_text())
            wrong = at_end(look(self.house), self.original, requests, _records(requests))
            if wrong:
                raise RuntimeError(f"a run of {mode} that nothing disturbed: {wrong}")
        return found

    def learn(self, modules: Sequence[str]) -> None:
        """Import what a child was seen to import, so that no later child has to."""
        self.modules = sorted({*self.modules, *modules})
        zygote.import_too(modules)

    def must_answer(self, mode: str) -> None:
        """A start of `run-due` that nothing disturbs. Raises RuntimeError when it fails."""
        self._must(lambda: self.due(mode), "run-due")

    def due(self, mode: str) -> int:
        """In a child: `run-due` with the settings of this mode."""
        return zygote.expunge(self.house, "run-due", *(part for one in MODES[mode] for part in ("--set", one)))

    def ask(self, requests: Mapping[str, Sequence[str]]) -> None:
        """Put requests on the ledger."""

        def action() -> int:
            from adapters import clock
            from adapters.ledger import open_ledger
            from adapters.project import Project

            with open_ledger(Project(self.house.root)) as ledger:
                for name, ids in requests.items():
                    ledger.add_request(name, f"person of {name}", list(ids), "gdpr", clock.now())
            return 0

        self._must(action, "the requests")

    def cancel(self, request: str) -> bool:
        """Withdraw a request; False when that is not possible any more."""

        def action() -> int:
            from adapters.ledger import open_ledger
            from adapters.project import Project
            from expunge.errors import ExpungeError

            with open_ledger(Project(self.house.root)) as ledger:
                try:
                    ledger.cancel(request)
                except ExpungeError:
                    return 1
            return 0

        return zygote.run(action, self.log).code == 0

    def killed_start(self, mode: str, kill: Kill, sabotage: Sabotage | None = None) -> zygote.End:
        """Start `run-due` and kill it there, if it comes by."""

        def action() -> int:
            Recorder(self.house, [kill]).arm()
            if sabotage is not None:
                sabotage()
            return self.due(mode)

        return zygote.run(action, None if kill.limit or kill.how == "torn" else self.log)

    def run(self, fault: Fault, sabotage: Sabotage | None = None) -> Result:
        """Run one fault."""
        started, used, result = time.monotonic(), _cpu(), Result(fault.to_dict())
        self.log.write_text("")
        self.house.restore()
        self.ask(fault.requests)
        asked: dict[str, list[str]] = dict(fault.requests)
        cancelled: set[str] = set()
        for number, kill in enumerate(fault.kills):
            end = self.killed_start(fault.mode, kill, sabotage)
            result.killed.append(end.was_killed)
            if not end.was_killed and end.code != 0:
                result.violations.append(f"start {number + 1}: exit {end.code}, {self._last_words()}")
            self._judge(result, asked)
            if number == 0:
                if fault.added:
                    self.ask(fault.added)
                    asked.update(fault.added)
                if fault.cancelled and self.cancel(fault.cancelled):
                    cancelled.add(fault.cancelled)
        self._restart(fault, result, sabotage)
        self.finish(result, asked, cancelled, fault.mode)
        result.seconds, result.cpu = time.monotonic() - started, _cpu() - used
        return result

    def finish(self, result: Result, asked: Mapping[str, Sequence[str]], cancelled: Collection[str], mode: str) -> None:
        """Judge the end, and that one more start changes nothing."""
        seen = look(self.house)
        gone = _records({name: ids for name, ids in asked.items() if name not in cancelled})
        result.violations += [f"at the end: {w}" for w in at_end(seen, self.original, asked, gone, cancelled)]
        idle = zygote.run(lambda: self.due(mode), self.log)
        again = look(self.house)
        if idle.code != 0:
            result.violations.append(f"idle start: exit {idle.code}, {self._last_words()}")
        if (again.head, again.pipeline_runs, again.stages) != (seen.head, seen.pipeline_runs, seen.stages):
            result.violations.append("idle start: it changed something")

    def _restart(self, fault: Fault, result: Result, sabotage: Sabotage | None) -> None:
        def action() -> int:
            if sabotage is not None:
                sabotage()
            return self.due(fault.mode)

        started = [zygote.start(action, self.log) for _ in range(2 if fault.together else 1)]
        for end in [zygote.wait(pid) for pid in started]:
            if end.code != 0:
                how = "hung" if end.hung else f"exit {end.code}, signal {end.signal}"
                result.violations.append(f"restart: {how}, {self._last_words()}")

    def _judge(self, result: Result, asked: Collection[str]) -> Look:
        seen = look(self.house)
        result.stood.append(" ".join(sorted({str(r["status"]) for r in seen.requests.values()})))
        number = len(result.stood)
        result.violations += [f"after kill {number}: {w}" for w in always(seen, self.original, asked)]
        return seen

    def _must(self, action: Callable[[], int | None], what: str) -> None:
        end = zygote.run(action, self.log)
        if end.code != 0:
            raise RuntimeError(f"{what} ended with {end}: {self._last_words()}")

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        complaints = [line for line in text.splitlines() if line.startswith("expunge: ") or "Error" in line]
        return (complaints or text.splitlines() or ["no words"])[-1][:300]


def _records(requests: Mapping[str, Sequence[str]]) -> list[str]:
    return sorted({i for ids in requests.values() for i in ids})


def _cpu() -> float:
    """Seconds of processor time of this process and of its children that ended."""
    return sum(r.ru_utime + r.ru_stime for who in (RUSAGE_SELF, RUSAGE_CHILDREN) for r in (getrusage(who),))
