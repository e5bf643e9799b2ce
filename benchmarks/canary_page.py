"""How is the canary scan told? As docs/purge.md."""

from __future__ import annotations

from typing import Any

FORMS = ("float32", "float64", "float16", "bfloat16", "text", "drawing", "record id", "person id")
LOOKS = {
    "before": "before the deletion",
    "after": "after it",
    "restored": "stores put back from a copy",
    "again": "after `expunge purge`",
}

HEAD = """# Purge: is any byte of an erased record left?

`.venv/bin/python benchmarks/canary_scan.py --write docs/purge.md` wrote this page. It makes a project with {canaries}
canaries among {records} records: 25 random float32 values each, with wrong labels, so that the model must memorise
them. The loader prints what it reads, as a careless one does. It trains, scores and calibrates; leaves the canaries
where killed processes could have left them, in {planted} files of ten formats (half-finished work, a checkpoint and an
artifact that were saved and not yet recorded); scans; deletes the canaries with `expunge run-due`; scans; puts the
stores back from a copy made before; scans; runs `expunge purge`; and scans again.

## What was found

How many of the {canaries} canaries, by place and form. Decoys, {decoys} records that never existed, were looked for in
every scan: {seen} were found.

"""

AFTER = """
Of the {planted} planted files the scan missed {missed}. `expunge purge --dry-run` listed {listed} things to destroy
before anything ran and changed no file. After the stores were put back, `expunge doctor` named it (exit code 5),
`expunge purge` destroyed {again} kinds of things again with tombstones, and {objects} DVC objects were left over. With
the older ledger put back, doctor, purge, run-due and train each refused with exit code 5.

## What the scan sees

Files and file names below `.expunge/`; inside gzip, zip and npz, bz2, xz, zstandard, parquet (also column by column),
SQLite (raw pages, freed ones too, and values) and base64. Two float32 or float64 values in sequence, four of the half
formats; three decimal values of a record in one file; its drawing as our pages draw it; record ids and people's ids.
`tests/pipelines/test_byte_scan.py` plants one record in each of these and demands that it is found.

## What it cannot see

* Values that were scaled, quantised or mixed with others: a weight is found by lineage, never by its bytes.
* Pixels of compressed images, other byte orders, encrypted files, and blocks that the file system has freed.
* The controller's source: Expunge refuses erased records there, it does not delete them. A loader that prints an
  erased record which still stands in its source prints it again; the next `expunge purge` removes that log.
* Logs of another run that print values and not the id, where that run made nothing that descends from the record.
* Backups. What one brings back is found by hash and by pseudonym, and destroyed again.

## What is destroyed, what is kept

| What | On a deletion |
|---|---|
| trajectory: manifest, pointer, DVC objects in both stores, shards | destroyed, but for what another live one holds |
| model, training records, forget set, pool, planted and evaluation outputs | destroyed with their pages |
| held-out records, norms, losses | destroyed with the model; of a model that never saw the record its rows go |
| logs of every run that made one of these, or that name the record | destroyed |
| half-finished work of dead processes | destroyed |
| saved by a killed process, never recorded | removed by run-due and purge while no other process runs a pipeline |
| predictor, evidence, plan, decision, reports, facts of runs | kept: numbers, opaque ids, keyed pseudonyms |
| ledger, certificates, keys, settings, kernel table, epoch | kept: no record, no id in clear |
| ZenML's database, DVC's site cache | kept: hashes, dates, counts, paths; scanned with their freed pages |
"""


def page(facts: dict[str, Any]) -> str:
    """The page as Markdown."""
    seen = sum(len(facts[look]["decoys"]) for look in LOOKS)
    words = HEAD.format(canaries=facts["canaries"], records=facts["records"], decoys=facts["decoys"],
                        planted=facts["planted"], seen=seen or "none")  # fmt: skip
    rows = sorted({(place, form) for look in LOOKS for place, forms in facts[look]["found"].items() for form in forms},
                  key=lambda row: (row[0], FORMS.index(row[1])))  # fmt: skip
    words += "| place | form | " + " | ".join(LOOKS.values()) + " |\n|---|---|" + "---:|" * len(LOOKS) + "\n"
    for place, form in rows:
        counts = [facts[look]["found"].get(place, {}).get(form, 0) for look in LOOKS]
        words += f"| {place} | {form} | " + " | ".join(map(str, counts)) + " |\n"
    totals = [f"{facts[look]['files']} files, {facts[look]['bytes'] / 1e6:.1f} MB" for look in LOOKS]
    words += "| scanned | | " + " | ".join(totals) + " |\n"
    listed = sum(item["action"] != "keep" for item in facts["dry_run"]["items"])
    return words + AFTER.format(
        planted=facts["planted"],
        missed=len(facts["planted_and_not_found"]) or "none",
        listed=listed,
        again=len(facts["purged_again"]["destroyed"]),
        objects=len(facts["objects_left_over"]) or "no",
    )
