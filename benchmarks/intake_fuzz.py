"""Does intake refuse what is malformed, without crashing, and take in what is not?

    .venv/bin/python benchmarks/intake_fuzz.py --documents 10000 --seed 0

Each document starts as a valid one (`intake_samples`) of a random format and is made malformed by one mutation that is
invalid by construction (`intake_mutations`): the parser under test has no say in it. Both go the way of `expunge
request import`, into a real ledger: first every valid one (the positive control: all must be taken in), then every
malformed one. Counted: crashes (an exception that is not an ExpungeError), malformed documents accepted, refusals that
repeat a person's or a record's id, valid documents refused; and whether the ledger's head moved.
Exit code 1 unless all are 0.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from intake_mutations import mutations_for
from intake_samples import valid_sample

from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.data.config import DataSettings
from expunge.errors import ExpungeError
from pipelines.intake import import_requests, read_files

DATA = "id,who,y,a\n" + "".join(f"record-{n:05d},person-{n % 100:04d},{n % 2},{n}\n" for n in range(500))


@dataclass
class Outcome:
    """What happened to the documents, and the first examples of what should not have."""

    documents: int = 0
    valid_accepted: int = 0
    crashes: int = 0
    accepted: int = 0
    repeated: int = 0
    head_moved: bool = False
    slowest_seconds: float = 0.0
    slowest: str = ""
    by_mutation: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.crashes or self.accepted or self.repeated or self.head_moved) and (
            self.valid_accepted == self.documents
        )


def fuzz(documents: int, seed: int, folder: Path, entering: int | None = None) -> Outcome:
    """Make the documents, and take them through intake in a project in `folder`.

    `entering`: so many of the valid ones go on into the ledger, the others are only read (None: all enter).
    """
    project = Project(folder)
    data = folder / "people.csv"
    data.write_text(DATA)
    options = {"path": str(data), "id": "id", "subject": "who", "target": "y"}
    settings = DataSettings(name="tabular", options=options)
    result = Outcome(documents)
    now = datetime.now(UTC)
    draw = random.Random(seed)
    samples = [valid_sample(draw, now) for _ in range(documents)]

    read: dict[str, Any] = {}
    for number, sample in enumerate(samples):
        file = _write(folder, f"valid-{number}{sample.suffix}", sample.content())
        read.update(read_files(project, [file], None, {}))
        file.unlink()
    entered = dict(list(read.items())[:entering])
    errors = {done.file: done.error for done in import_requests(settings, project, entered)}
    for name, found in read.items():
        error = errors.get(name) or (found if isinstance(found, ExpungeError) else None)
        result.valid_accepted += error is None
        if error is not None:
            _example(result, f"valid but refused: {error}")
    with open_ledger(project) as ledger:
        head, requests = ledger.head(), len(ledger.list_requests())

    for sample in samples:
        kinds = mutations_for(sample)
        content = None
        while content is None:
            name = draw.choice(sorted(kinds))
            content = kinds[name](draw, sample, now)
        result.by_mutation[f"{sample.format}: {name}"] += 1
        file = _write(folder, f"malformed{sample.suffix}", content)
        _try(result, settings, project, file, name, sample.secrets)
    with open_ledger(project) as ledger:
        result.head_moved = ledger.head() != head or len(ledger.list_requests()) != requests
    return result


def _try(result: Outcome, settings: DataSettings, project: Project, file: Path, name: str, secrets: list[str]) -> None:
    began = time.perf_counter()
    try:
        found = read_files(project, [file], None, {})[str(file)]
        if not isinstance(found, ExpungeError):  # nothing has stopped it yet: on to the ledger, as the verb would
            found = import_requests(settings, project, {str(file): found})[0].error
    except Exception as error:
        result.crashes += 1
        _example(result, f"crash, {name}: {type(error).__name__}: {error} at {file.read_bytes()[:300]!r}")
        return
    seconds = time.perf_counter() - began
    if seconds > result.slowest_seconds:
        result.slowest_seconds, result.slowest = seconds, name
    if found is None:
        result.accepted += 1
        _example(result, f"accepted, {name}: {file.read_bytes()[:600]!r}")
    elif any(secret in str(found) for secret in secrets):
        result.repeated += 1
        _example(result, f"repeats an id, {name}: {found}")


def _write(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def _example(result: Outcome, words: str) -> None:
    if len(result.examples) < 10:
        result.examples.append(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = fuzz(given.documents, given.seed, Path(folder))
    print(f"{given.documents} documents, seed {given.seed}, {time.monotonic() - began:.0f} s")
    print(f"  valid: {result.valid_accepted} of {result.documents} taken in")
    print(f"  malformed, by {len(result.by_mutation)} kinds of mutation: {result.crashes} crashes, {result.accepted}"
          f" accepted, {result.repeated} refusals that repeat an id")  # fmt: skip
    print(f"  the ledger's head {'MOVED' if result.head_moved else 'did not move'}")
    print(f"  slowest refusal: {result.slowest_seconds:.2f} s ({result.slowest})")
    for name, count in sorted(result.by_mutation.items()):
        print(f"    {count:5d}  {name}")
    for example in result.examples:
        print("  !", example)
    sys.exit(0 if result.good else 1)


if __name__ == "__main__":
    main()
