"""Keep what the run rewound past, restricted and until a date, where the policy says so; before anything is destroyed.

A run that does not rewind keeps nothing, and neither does one whose requests are due too soon.
"""

from zenml import save_artifact, step

from adapters import artifacts, prefixes
from adapters.ledger import open_ledger
from adapters.requests import records_of
from expunge.compliance.prefix_dates import destroy_by
from expunge.facts import Facts
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import REWINDS, UnlearningRun
from expunge.unlearning.rewind_prefix import RewindPrefix, left_behind
from materializers.prefixes import RewindPrefixMaterializer

INTENDED = "prefix_intended"


@step(enable_cache=False)
def keep_prefix(unlearning_run: UnlearningRun, promotion: Facts, settings: ProjectSettings, run_id: str) -> None:
    if unlearning_run.method not in REWINDS or unlearning_run.rewind_step is None:
        return
    if prefixes.left_by(run_id) is not None:  # before the process was killed
        prefixes.record(run_id)
        return
    with open_ledger() as ledger:
        run = ledger.get_run(run_id)
        deadlines = [ledger.get_request(request).deadline for request in run.details["requests"]]
    earlier = prefixes.before(str(run.model_version_before))
    promised = [earlier.destroy_by] if earlier else []
    last = destroy_by(deadlines, settings.deletion.prefix_margin_days, promised)
    wanted = settings.deletion.purge_prefix == "until_due" and last > prefixes.today()
    if not wanted and not run.details.get(INTENDED):
        return
    made = _left_behind(str(run.model_version_before), promotion, unlearning_run, earlier, run_id, last.isoformat())
    if made is None:
        return
    with open_ledger() as ledger:
        # A process that is killed between storing the bytes and recording the artifact leaves bytes that nothing names.
        ledger.update_run(run_id, details={INTENDED: True})
    version = save_artifact(made, prefixes.KIND, materializer=RewindPrefixMaterializer, tags=["restricted"])
    if wanted:
        prefixes.record(run_id)
    else:
        prefixes.destroy(prefixes.KeptPrefix(artifacts.hydrated(version)), run_id)


def _left_behind(
    before: str,
    promotion: Facts,
    unlearning_run: UnlearningRun,
    earlier: prefixes.KeptPrefix | None,
    run_id: str,
    last: str,
) -> RewindPrefix | None:
    old = artifacts.newest("trajectory", model_version_id=before)
    losses = artifacts.newest("privacy_losses", model_version_id=before)
    new = artifacts.newest("trajectory", model_version_id=promotion.values["id"])
    if old is None or losses is None or new is None:
        return None
    lending = artifacts.load(earlier.version) if earlier else None
    scores = artifacts.load(losses)
    whole = prefixes.lent_to(artifacts.load(old), lending)
    with open_ledger() as ledger:
        requests = ledger.get_run(run_id).details["requests"]
    made = left_behind(
        whole,
        artifacts.materializer_of(new).load_manifest(),
        int(unlearning_run.rewind_step or 0),
        unlearning_run.method == "unrolled_rewind",
        records_of(requests, scores.record_ids),
        scores,
        lending,
        run_id,
        last,
    )
    return made and made.at_directory(whole.directory)
