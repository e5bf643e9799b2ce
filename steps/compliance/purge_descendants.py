"""Destroy what still remembers, list what stays and why, and scan again."""

from typing import Annotated

from zenml import step

from adapters import artifacts, prefixes
from adapters.ledger import open_ledger, write_epoch
from adapters.purge_records import purge_records
from expunge.facts import Facts


@step(enable_cache=False)
def purge_descendants(promotion: Facts, run_id: str) -> Annotated[Facts, "purge"]:
    with open_ledger() as ledger:
        requests = ledger.get_run(run_id).details["requests"]
        pseudonyms = {r.record_pseudonym for request in requests for r in ledger.request_records(request)}
    promoted = [str(v.id) for v in artifacts.versions(model_version_id=promotion.values["id"])]
    done = purge_records(pseudonyms, promoted, run_id)
    with open_ledger() as ledger:
        for request_id in requests:
            ledger.move(request_id, "purged", run_id)
            ledger.mark_erased(request_id, run_id)
        ledger.update_run(run_id, status="purged")
    write_epoch()
    parts = prefixes.listed(done.parts, run_id)
    return Facts("Purge", {"artifacts": parts, "shared_files": done.shared, "rescan": done.rescan})
