"""What did a run teach? Its result joins the pilots of its model, so that the next plan predicts better."""

from __future__ import annotations

from expunge.evaluation.evidence import Evidence
from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way
from expunge.unlearning.plan import WITHOUT_LOOKS, UnlearningPlan, UnlearningRun
from expunge.unlearning.predictor import BudgetPredictor

MOST = 200


def with_run(
    predictor: BudgetPredictor,
    mean_loss: float,
    plan: UnlearningPlan,
    run: UnlearningRun,
    evidence: Evidence,
) -> BudgetPredictor:
    """The predictor with one more spent run, at most the newest 200; unchanged where the run measured nothing.

    Runs join the fit alone: they are not drawn as pilot sets are, and a conformal interval rests on that (METHOD
    section 6). Only against oracles is what was left measured as the pilots' was, and sets far larger than they are
    another matter. The same set forgotten again in the same way counts once: with the same seed it is the same model.
    """
    if evidence.level != "oracle" or run.method in WITHOUT_LOOKS:
        return predictor
    if predictor.larger_than_pilots(plan.forget_records):
        return predictor
    details = next((check.details for check in evidence.checks if check.name == "influence"), {})
    influence, excess, energy = (details.get(key) for key in ("influence", "excess", "energy"))
    if not (isinstance(influence, float) and isinstance(excess, float) and isinstance(energy, float)):
        return predictor
    way = Way(run.method, run.amount, run.strength)
    candidate = PilotCandidate(
        method=way.method, amount=way.amount, strength=way.strength, steps=way.steps(plan.retrain_steps),
        cost=run.cost["unlearning"], excess=excess, influence=influence,
    )  # fmt: skip
    name = f"{plan.forget_records} records, {mean_loss:.9g}: {way.method} {way.amount} {way.strength}"
    spent = PilotSet(name=name, size=plan.forget_records, mean_loss=mean_loss, energy=energy, candidates=(candidate,))
    known = [p for p in predictor.spent if p.name != name]
    # Built anew: what was worked out from the old pilots must not be carried along.
    return BudgetPredictor.model_validate(
        {**predictor.model_dump(), "spent": [p.model_dump() for p in [*known, spent][-MOST:]]}
    )
