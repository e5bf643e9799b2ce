"""How long does `expunge --help` take, beside the bare interpreter and its two peers? Promised: under 0.3 s.

    .venv/bin/python benchmarks/help_time.py

On 2 cores, warm file cache, medians of 21: python -c pass 0.018 s, expunge --help 0.057 s, dvc --help 0.095 s,
zenml --help 1.188 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "expunge --help": [str(BIN / "expunge"), "--help"],
    "dvc --help": [str(BIN / "dvc"), "--help"],
    "zenml --help": [str(BIN / "zenml"), "--help"],
}
ROUNDS = 21


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):  # in turns, so that a busy moment falls on all
        for name, command in COMMANDS.items():
            started = time.monotonic()
            subprocess.run(command, capture_output=True, check=True)
            seconds[name].append(time.monotonic() - started)
    for name, measured in seconds.items():
        print(f"{name:16} median {statistics.median(measured):.3f} s, slowest {max(measured):.3f} s")


if __name__ == "__main__":
    main()
