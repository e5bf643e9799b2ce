"""Let the calibration of a model learn from a run on it: the next plan predicts with one result more."""

from typing import Annotated

import numpy as np
from zenml import step

from expunge.evaluation.evidence import Evidence
from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.spent_runs import with_run


@step(enable_cache=False)
def learn_from_run(
    budget_predictor: BudgetPredictor,
    unlearning_plan: UnlearningPlan,
    unlearning_run: UnlearningRun,
    forget_set: ForgetSet,
    privacy_losses: PrivacyLosses,
    evidence: Evidence,
) -> Annotated[BudgetPredictor, "budget_predictor"]:
    mean_loss = float(np.mean(privacy_losses.select(forget_set.record_ids).total))
    return with_run(budget_predictor, mean_loss, unlearning_plan, unlearning_run, evidence)
