"""After the deletion: what is stored how, and is anything of the records left?"""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def test_no_artifact_was_pickled(demo: Any) -> None:
    kinds = {json.loads(m)["attribute"] for (m,) in demo.house.zenml("select materializer from artifact_version")}
    assert kinds
    assert not [kind for kind in kinds if any(bad in kind for bad in ("Cloudpickle", "PyTorch", "Sklearn", "Pickle"))]
    # ZenML's own keep the parameters of steps (`Built-in` values); what we make goes through ours.
    assert all(
        json.loads(m)["module"].startswith("materializers.")
        for (m,) in demo.house.zenml("select materializer from artifact_version")
    )


def test_no_file_could_be_a_pickle(demo: Any) -> None:
    names = [path.name for path in demo.house.state.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"))]


def test_every_step_has_a_known_source(demo: Any) -> None:
    sources = [
        json.loads(config)["spec"]["source"] for (config,) in demo.house.zenml("select config from step_configuration")
    ]
    assert sources and all(source["type"] == "user" and source["module"].startswith("steps.") for source in sources)


def test_no_id_is_left_anywhere(demo: Any) -> None:
    """In no database, parameter, log, page, report or certificate, nor in any other file below the state folder."""
    assert demo.house.holding(demo.gone) == {}


def test_what_stays_for_ever_names_no_record_at_all(demo: Any, digits_ids: dict[str, str]) -> None:
    """Not even of those that are still held: ZenML's database, the ledger, the reports and the certificates."""
    house = demo.house
    stores = [house.state / "stores" / "default_zen_store", house.state / "certificates", house.state / "reports"]
    for folder in stores:
        assert house.holding(digits_ids, folder) == {}
    ledger = b"".join(path.read_bytes() for path in house.state.glob("ledger.db*"))
    assert not [record for record in digits_ids if record.encode() in ledger]


def test_no_person_is_named_in_the_ledger_or_a_certificate(demo: Any) -> None:
    assert demo.house.holding(["volunteer-0001"]) == {}


def test_the_old_checkpoints_are_gone_from_cache_and_remote(demo: Any) -> None:
    left = {path.parent.name + path.name for path in demo.house.objects()}
    old = demo.house.artifacts("trajectory")[0]["facts"]
    assert old["destroyed_at"] and old["dvc_hash"] not in left
    pointers = "".join(path.read_text() for path in (demo.house.state / "dvc").rglob("*.dvc") if path.is_file())
    assert old["dvc_hash"] not in pointers
    # What is left belongs to trajectories that never saw the records.
    named: set[str] = set()
    for trajectory in demo.house.artifacts("trajectory"):
        stored = trajectory["uri"] / "dvc.json"
        if stored.is_file():
            described = json.loads(stored.read_text())
            named |= {described["dvc_hash"], *described["files"].values()}
            manifest = json.loads((trajectory["uri"] / "manifest.json").read_text())
            assert not demo.gone & set(manifest["record_ids"])
    assert left and left <= named


def test_every_model_that_saw_the_records_is_archived_with_tombstones(demo: Any) -> None:
    assert demo.house.versions()["1"] == "archived"
    assert demo.house.versions()[demo.version] in ("production", "archived")
    first = [a for a in demo.house.artifacts("model") if a["facts"].get("model_version") == "digits-mlp 1"]
    assert first and all(a["facts"]["destroyed_by"] == demo.version for a in first)
    assert not any(a["uri"].exists() for a in first)
    tombs = demo.house.ledger("select kind, status from tombstone where run_id = ?", demo.version)
    destroyed = {kind for kind, status in tombs if status == "destroyed"}
    assert destroyed >= {"trajectory", "model", "training_records", "gradient_norms", "privacy_losses", "forget_set"}


def test_the_new_model_never_saw_them(demo: Any) -> None:
    for number in range(len([a for a in demo.house.artifacts("training_records") if "destroyed_at" not in a["facts"]])):
        trained = set(demo.house.trained_ids(number))
        assert trained and not demo.gone & trained


def test_the_certificate_speaks_of_pseudonyms_and_of_what_was_destroyed(demo: Any, digits_ids: dict[str, str]) -> None:
    from expunge.compliance.verify.check import verify_certificate

    statement = verify_certificate(demo.certificate(HARD)).statement
    assert statement is not None
    predicate = statement["predicate"]
    assert set(predicate["scope"]["record_pseudonyms"]) == set(demo.house.pseudonyms(demo.erased[HARD]))
    assert predicate["rescan"]["found"] == []
    assert {part["action"] for part in predicate["artifacts"]} == {"destroyed", "kept"}
    assert predicate["verdict"]["passed"] is True
    assert predicate["model"]["version"] == demo.version
