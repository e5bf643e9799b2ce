"""Close the requests of the run: erased, unlearned, certified."""

from zenml import step

from adapters import clock
from adapters.ledger import open_ledger, write_epoch
from adapters.requests import move_all
from expunge.errors import IntegrityError
from expunge.facts import Facts


@step(enable_cache=False)
def close_requests(certificates: Facts, run_id: str) -> None:
    with open_ledger() as ledger:
        lacking = [r for r in ledger.get_run(run_id).details["requests"] if not ledger.certificates(r)]
        if lacking:
            raise IntegrityError(f"Request {lacking[0]} has no certificate.", "Run `expunge run-due` again.")
        move_all(ledger, run_id, "closed")
        ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
