"""The command line that benchmarks over the evidence data sets share: one result a data set, in one JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from evidence_worlds import WORLDS, World

Results = dict[str, Any]


def world_parser(text: str | None, cache: str, seed: int) -> argparse.ArgumentParser:
    """Data sets, and where finished parts and results go."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", choices=[*WORLDS, []], default=[])
    parser.add_argument("--cache", type=Path, default=Path(cache))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--json", type=Path, help="add the results to this file")
    parser.add_argument("--report", type=Path, help="print the tables of such a file as Markdown")
    return parser


def work_through(
    options: argparse.Namespace, of_world: Callable[[World], Any], as_markdown: Callable[[Results], str]
) -> None:
    """Every data set named, its result written and printed as soon as it is there; or the tables of a finished file."""
    if options.report:
        print(as_markdown(json.loads(options.report.read_text())))
        return
    torch.set_num_threads(options.threads)
    results: Results = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    for name in options.worlds:
        results[name] = of_world(WORLDS[name])
        if options.json:
            options.json.write_text(json.dumps(results, separators=(",", ":")) + "\n")
        print(as_markdown({name: results[name]}))
