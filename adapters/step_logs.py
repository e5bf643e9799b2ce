"""Which stored logs speak of these records? ZenML keeps whatever a step printed, and a loader may print records."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from zenml.client import Client

from expunge.compliance.pseudonym import Pseudonymizer

FOLDER = "logs"
# What may stand around an id in a line of text; an id with one of these inside is found by its run alone.
_TOKEN = re.compile(r"""[^\s"'\\,;()\[\]{}<>=]+""")


def all_logs() -> list[str]:
    """Every log file of the artifact store: asked of the store, not of the records."""
    store = Client().active_stack.artifact_store
    home = f"{store.path}/{FOLDER}"
    if not store.exists(home):
        return []
    return sorted(f"{folder}/{name}" for folder, _, names in store.walk(home) for name in names)


def of_runs(versions: Iterable[Any]) -> list[str]:
    """Logs of the pipeline runs that made these artifacts, and of their steps: they had the records in their hands."""
    client = Client()
    wanted: set[str] = set()
    for run_id in {v.producer_pipeline_run_id for v in versions if v.producer_pipeline_run_id}:
        run = client.get_pipeline_run(run_id)
        collections = [run.log_collection or []]
        collections += [client.get_run_step(step.id).log_collection or [] for step in run.steps.values()]
        wanted |= {str(log.uri) for logs in collections for log in logs if log.uri}
    # A store that cannot append keeps a folder of parts per log.
    return [path for path in all_logs() if any(path == uri or path.startswith(f"{uri}/") for uri in wanted)]


def naming(pseudonyms: Collection[str], names: Pseudonymizer) -> list[str]:
    """Logs with a word that is the id of one of these records."""
    store = Client().active_stack.artifact_store
    wanted = frozenset(pseudonyms)
    known: dict[str, bool] = {}
    found = []
    for path in all_logs():
        with store.open(path, "rb") as stream:
            text = stream.read().decode("utf-8", errors="replace")
        for token in {variant for t in _TOKEN.findall(text) for variant in (t, t.strip(".:!?"))} - {""}:
            if token not in known:
                known[token] = not wanted.isdisjoint(names.records(token))
            if known[token]:
                found.append(path)
                break
    return found


def destroy(paths: Iterable[str]) -> int:
    """Delete these logs; returns how many there were. Lines that are still on their way are written first."""
    stack = Client().active_stack
    stack.log_store.flush()
    count = 0
    for path in paths:
        if stack.artifact_store.exists(path):
            stack.artifact_store.remove(path)
            count += 1
    return count
