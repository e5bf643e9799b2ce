"""Every check on the unlearned model, with controls and power, at the scenario's level of evidence."""

from typing import Annotated

from zenml import step

from expunge.evaluation import run_checks
from expunge.evaluation.barrier import barrier_warning
from expunge.evaluation.evidence import Evidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.signatures import flat_distribution
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from steps.evaluation.pseudonymous import pseudonymous
from steps.evaluation.settings import checks_at, evaluation_settings


@step(enable_cache=False)
def evaluate_unlearning(
    evaluation_outputs: EvaluationInputs, privacy_losses: PrivacyLosses, settings: ProjectSettings
) -> Annotated[Evidence, "evidence"]:
    level = settings.evaluation.evidence_level
    warnings = [flat_distribution(privacy_losses.total), barrier_warning(evaluation_outputs.barriers)]
    evidence = run_checks(
        evaluation_outputs,
        checks_at(settings, evaluation_outputs, level),
        settings=evaluation_settings(settings),
        level=level,
        warnings=[warning for warning in warnings if warning is not None],
    )
    return pseudonymous(evidence)
