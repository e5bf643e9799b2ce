"""Faults that are no kills: a full disk, a remote that is away, a locked database, a clock that goes backwards, two
starts at once, a certificate cut in half. Each shows first that the fault bit, and then that the next start cures it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fault_harness import zygote
from fault_harness.checks import always, look
from fault_harness.house import House
from fault_harness.plan import requests_for
from fault_harness.points import AFTER, TORN, Kill
from fault_harness.runs import Bench, Result

EASY_AND_HARD, MODE = "easy and hard", "retrain"
PROMOTED = Kill("promote_model | commit | ledger verified to promoted", 1, AFTER)


class Scenario:
    """One fault in a restored house. `bit` says how the fault showed; empty when it did not."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.house, self.name, self.bit = bench, bench.house, name, ""
        self.requests = requests_for(EASY_AND_HARD, bench.original, random.Random(name))
        self.result = Result({"scenario": name, "bit": ""})
        bench.log.write_text("")
        bench.house.restore()
        bench.ask(self.requests)

    def start(
        self, before: Callable[[], None] = lambda: None, kill: Kill | None = None, judge: bool = True
    ) -> zygote.End:
        """Start `run-due`; what must hold at any moment is judged after it, or later by the caller."""

        def action() -> int:
            before()
            return self.bench.due(MODE)

        end = self.bench.killed_start(MODE, kill, before) if kill else zygote.run(action, self.bench.log)
        if judge:
            self.judge()
        return end

    def judge(self) -> None:
        """What must hold at any moment."""
        wrong = always(look(self.house), self.bench.original, self.requests)
        self.result.violations += [f"after the fault: {w}" for w in wrong]

    def refused(self, end: zygote.End, *words: str) -> None:
        """The fault must have been met with an error that names it."""
        said = self.bench.log.read_text()
        if end.code in (1, 5) and any(word in said for word in words) and "Traceback" not in said:
            self.bit = next(line for line in said.splitlines() if any(word in line for word in words)).strip()[:200]
        else:
            self.result.violations.append(f"refusal: {end}, {said[-400:]!r}")

    def cured(self, before: Callable[[], None] = lambda: None) -> Result:
        """The next start must answer everything; says what is wrong at the end."""
        end = self.start(before)
        if end.code != 0:
            self.result.violations.append(f"restart: {end}, {self.bench.log.read_text()[-400:]!r}")
        self.bench.finish(self.result, self.requests, (), MODE)
        if not self.bit:
            self.result.violations.append("the fault was not seen to bite")
        self.result.fault["bit"] = self.bit
        return self.result


def remote_away(bench: Bench) -> Result:
    """DVC's remote folder cannot be reached from the start."""
    one = Scenario(bench, "remote away at the start")
    with _away(one.house):
        one.refused(one.start(judge=False), "remote", "dvc-remote")
    one.judge()
    return one.cured()


def remote_away_at_the_purge(bench: Bench) -> Result:
    """The remote goes away after the promotion: nothing may be said to be purged until it is back."""
    one = Scenario(bench, "remote away at the purge")
    one.start(kill=PROMOTED)
    with _away(one.house):
        one.refused(one.start(judge=False), "remote", "dvc-remote")
        purged = [r["id"] for r in look(one.house).requests.values() if r["data_erased_at"]]
        one.result.violations += [f"premature: {r} is said to be erased" for r in purged]
    one.judge()
    return one.cured()


def ledger_locked_for_long(bench: Bench) -> Result:
    """Another process holds the ledger's write lock for longer than a start waits (shortened here to one second)."""
    one = Scenario(bench, "ledger locked for long")

    def impatient() -> None:
        from expunge.compliance.ledger import Ledger

        Ledger.open.__func__.__kwdefaults__["busy_seconds"] = 1  # type: ignore[attr-defined]

    with _held(one.house.state / "ledger.db"):
        one.refused(one.start(impatient), "stayed locked")
    return one.cured()


def ledger_locked_shortly(bench: Bench) -> Result:
    """Another process holds the ledger's write lock, and lets go two seconds after the start met it."""
    one = Scenario(bench, "ledger locked shortly")
    return _waits_for(one, one.house.state / "ledger.db", "BEGIN IMMEDIATE", lambda: look(one.house).head)


def zenml_locked(bench: Bench) -> Result:
    """ZenML's database is held by another process for two seconds, in the middle of a run."""
    one = Scenario(bench, "ZenML's database locked shortly")
    database = one.house.state / "stores" / "default_zen_store" / "zenml.db"
    return _waits_for(one, database, ("INSERT", "UPDATE"), lambda: look(one.house).pipeline_runs)


def _waits_for(one: Scenario, database: Path, statement: str | tuple[str, ...], state: Callable[[], Any]) -> Result:
    """The start must be seen to meet the lock, change nothing while it is held, and go on afterwards."""
    met = one.house.place / "met"
    met.unlink(missing_ok=True)

    def action() -> int:
        from sqlalchemy import Engine, event

        @event.listens_for(Engine, "before_cursor_execute")
        def _meets(connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
            if text.startswith(statement) and str(connection.engine.url.database) == str(database):
                met.touch()

        return one.bench.due(MODE)

    with _held(database):
        before = state()
        pid = zygote.start(action, one.bench.log)
        for _ in range(3000):
            if met.exists():
                break
            time.sleep(0.02)
        time.sleep(2)
        unchanged = met.exists() and state() == before
    end = zygote.wait(pid)
    if unchanged and end.code == 0 and state() != before:
        one.bit = "a start met the lock, changed nothing for two seconds, and went on when it was free"
    elif unchanged and end.code == 1:
        one.bit = "a start met the lock, changed nothing for two seconds, and gave up with an error"
    one.judge()
    return one.cured()


def clock_backwards(bench: Bench) -> Result:
    """Killed on one day, started again on an earlier one."""
    one = Scenario(bench, "clock backwards")
    one.start(lambda: _set_clock("2031-05-20T10:00:00+00:00"), PROMOTED)
    one.start(lambda: _set_clock("2031-05-18T09:00:00+00:00"))
    events = look(one.house).events
    behind = [e for e in events if "clock_read" in json.loads(e["payload"])]
    if behind:
        one.bit = f"{len(behind)} events took their predecessor's time and say what the clock read"
    if any(a["at"] > b["at"] for a, b in itertools.pairwise(events)):
        one.result.violations.append("chain: its times are not in order")
    return one.cured(lambda: _set_clock("2031-05-18T09:00:00+00:00"))


def two_at_once(bench: Bench) -> Result:
    """Two schedulers start at the same moment: one works, the other waits and finds nothing left."""
    one = Scenario(bench, "two at once")
    started = [zygote.start(lambda: bench.due(MODE), bench.log) for _ in range(2)]
    ends = [zygote.wait(pid) for pid in started]
    one.result.violations += [f"two at once: {end}" for end in ends if end.code != 0]
    seen, said = look(one.house), bench.log.read_text()
    if "waiting for it" in said:
        one.bit = "one of them waited for the other"
    if len(seen.runs) != 1:
        one.result.violations.append(f"doubled: {len(seen.runs)} runs")
    return one.cured()


def half_a_certificate(bench: Bench) -> Result:
    """Killed by the kernel in the middle of writing a certificate; and one that is on the ledger is cut later."""
    one = Scenario(bench, "half a certificate")
    end = one.start(kill=Kill("certify_erasure | write | certificates", 1, TORN, 3000))
    folder = one.house.state / "certificates"
    halves = [p for p in folder.glob(".*") if p.stat().st_size == 3000]
    if end.was_killed and halves and not list(folder.glob("[!.]*.json")):
        one.bit = "3000 bytes lay under a name of their own; no certificate had its name"
    (folder / f"{next(iter(one.requests))}.certificate.json").write_bytes(halves[0].read_bytes() if halves else b"")
    result = one.cured()
    certificate = next(folder.glob("*.json"))
    certificate.write_bytes(certificate.read_bytes()[:3000])
    if zygote.run(lambda: zygote.expunge(one.house, "verify", str(certificate)), bench.log).code != 5:
        result.violations.append("certificate: one cut in half on the disk verifies")
    return result


def full_disk(name: str, part: str, size: str) -> Callable[[Bench], Result]:
    """The disk below a folder of the project is full; with more room the next start goes on."""

    def scenario(bench: Bench) -> Result:
        return _on_small_disk(Scenario(bench, name), part, size)

    return scenario


def full_before_the_end(bench: Bench) -> Result:
    """The whole project on a disk that is just too small: as large as it may be while the start is still refused."""
    for extra in range(400, 0, -50):
        result = _on_small_disk(Scenario(bench, "full disk: everything, late"), ".", f"+{extra}k")
        if result.fault["bit"] or "skipped" in result.fault:
            return result
    return result


def _on_small_disk(one: Scenario, part: str, size: str) -> Result:
    with _small_disk(one.house.state / part, size) as grow:
        if grow is None:
            one.result.fault["skipped"] = "mounting a small disk is not allowed here"
            return one.result
        end = one.start()
        if end.code != 0:
            one.refused(end, "full", "No space", "cannot be written", "cannot be used")
        grow()
        return one.cured()


SCENARIOS: dict[str, Callable[[Bench], Result]] = {
    "remote away at the start": remote_away,
    "remote away at the purge": remote_away_at_the_purge,
    "ledger locked for long": ledger_locked_for_long,
    "ledger locked shortly": ledger_locked_shortly,
    "ZenML's database locked shortly": zenml_locked,
    "clock backwards": clock_backwards,
    "two at once": two_at_once,
    "half a certificate": half_a_certificate,
    **{
        name: full_disk(name, part, size)
        for name, part, size in (
            ("full disk: certificates", "certificates", "8k"),
            ("full disk: reports", "reports", "16k"),
            ("full disk: DVC cache", "dvc", "120k"),
            ("full disk: DVC remote", "dvc-remote", "60k"),
            ("full disk: everything, early", ".", "+40k"),
        )
    },
    "full disk: everything, late": full_before_the_end,
}


def _set_clock(moment: str) -> None:
    os.environ["EXPUNGE_SIMULATED_NOW"] = moment


@contextlib.contextmanager
def _away(house: House) -> Iterator[None]:
    """The remote's folder under another name, and a file in its place (root may write any folder)."""
    remote, elsewhere = house.state / "dvc-remote", house.place / "remote-away"
    remote.rename(elsewhere)
    remote.write_text("not a folder")
    try:
        yield
    finally:
        remote.unlink()
        elsewhere.rename(remote)


@contextlib.contextmanager
def _held(database: Path) -> Iterator[None]:
    """Another process holds the write lock of a SQLite database. (This one would lose it by reading the file.)"""
    taken, tell = os.pipe()

    def action() -> int:
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            os.write(tell, b"!")
            signal.pause()
        return 0

    pid = zygote.start(action, None)
    os.read(taken, 1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        zygote.wait(pid)
        os.close(taken)
        os.close(tell)


def _keep_mounts_to_ourselves() -> None:
    """From now on what this process mounts is seen by it and its children alone, and ends with them."""
    new_namespace = 0x00020000
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(new_namespace) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Callable[[], None] | None]:
    """A file system of that size over a folder, with what was in it (+: so much more than that); a call makes it grow.

    None where mounting is not allowed. What is in it at the end stays in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.with_name(folder.name + ".kept")
    shutil.copytree(folder, kept)
    if size.startswith("+"):
        used = sum(-(-p.lstat().st_size // 4096) * 4 + 4 for p in kept.rglob("*"))
        size = f"{used + int(size[1:-1])}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        shutil.rmtree(kept)
        yield None
        return
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield lambda: subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True) and None
    finally:
        shutil.rmtree(kept)
        subprocess.run(["umount", "-l", str(folder)], check=True)


def missing(bench: Bench, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run the scenarios of which there is no result yet."""
    done = {row["scenario"] for row in rows}
    _keep_mounts_to_ourselves()
    for name, scenario in SCENARIOS.items():
        if name not in done:
            yield scenario(bench).to_dict()
