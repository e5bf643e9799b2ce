"""Close the requests of the run: erased, unlearned, certified. One whose certificate is interim stays open."""

from zenml import step

from adapters import clock
from adapters.interim import INTERIM, waiting_requests
from adapters.ledger import open_ledger, write_epoch
from expunge.errors import IntegrityError
from expunge.facts import Facts


@step(enable_cache=False)
def close_requests(certificates: Facts, run_id: str) -> None:
    with open_ledger() as ledger:
        lacking = [r for r in ledger.get_run(run_id).details["requests"] if not ledger.certificates(r)]
        if lacking:
            raise IntegrityError(f"Request {lacking[0]} has no certificate.", "Run `expunge run-due` again.")
        waiting = waiting_requests(ledger, run_id)
        for request_id in ledger.get_run(run_id).details["requests"]:
            if request_id not in waiting:
                ledger.move(request_id, "closed", run_id)
        if waiting:
            ledger.update_run(run_id, status=INTERIM)
        else:
            ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
