"""Every check on the unlearned model, with controls and power."""

from typing import Annotated

from zenml import step

from adapters.ledger import pseudonymizer
from expunge.evaluation import run_checks
from expunge.evaluation.evidence import Evidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.signatures import flat_distribution
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from steps.evaluation.settings import evaluation_settings


@step(enable_cache=False)
def evaluate_unlearning(
    evaluation_outputs: EvaluationInputs, privacy_losses: PrivacyLosses, settings: ProjectSettings
) -> Annotated[Evidence, "evidence"]:
    flat = flat_distribution(privacy_losses.total)
    evidence = run_checks(
        evaluation_outputs,
        settings.evaluation.checks,
        settings.evaluation.gating,
        evaluation_settings(settings),
        warnings=[flat] if flat else [],
    )
    # The evidence outlives the records, so it names them as the ledger does.
    name = pseudonymizer().record
    requests = [
        request.model_copy(
            update={"places": [p.model_copy(update={"record_id": name(p.record_id)}) for p in request.places]}
        )
        for request in evidence.requests
    ]
    return evidence.model_copy(update={"requests": requests})
