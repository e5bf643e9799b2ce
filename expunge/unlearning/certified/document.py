"""What does a certificate of a convex head state? Every constant, every assumption, and what it does not cover."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.plan import Document

Bound = Literal["coupling", "trajectory", "none"]
Direction = Literal["both alike", "unlearned against retrained", "retrained against unlearned"]

ASSUMPTIONS: tuple[str, ...] = (
    "The head alone is certified: its features are a fixed function of each record by itself, and nothing that computes"
    " them was trained on the records to forget.",
    "Compared are the laws of the weights, over the noise of training and unlearning: unlearned = T steps on all"
    " records, then k on those that stay; retrained = T + k steps on those that stay, from the same declared start, at"
    " the same rate, noise, penalty and divisor n. None of these numbers was read off the records to forget.",
    "Every step is a full-batch gradient step in float64 with fresh, independent Gaussian noise. The generator is taken"
    " to be ideal and rounding to be exact; whoever sees the model knows neither the seed of training nor that of"
    " unlearning.",
    "k is a function of the records, the settings and the forget set, fixed before any noise is drawn or looked at. It"
    " may be rounded up: more steps only lower the bound. The number k itself depends on what is forgotten and is"
    " outside the guarantee where it is published.",
    "The forget set was not chosen by looking at the trained weights, and whoever judges sees the unlearned model, not"
    " the original as well.",
    "One forget set, from the original head: later requests start again from the original with all records asked back.",
)


SIMULATED = (
    "The distance of the coupled weights was bounded from simulated trainings whose noise was drawn for that alone; the"
    " chance that this bound is too low is part of delta. Their seed was fixed beforehand, not tried out, and the"
    " forget set was not chosen by looking at them."
)


class Simulations(Document):
    """Trainings simulated to bound the distance; share_of_delta: what their chance of misleading takes of delta."""

    runs: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    share_of_delta: float = Field(default=0.1, gt=0, lt=1)


class HeadConstants(Document):
    """The constants of the problem. kappa: Lipschitz constant of the noiseless update; decay: R = -2 ln kappa a step.

    stationary_sobolev: 2 eta sigma^2 / (1 - kappa^2), never exceeded by a log-Sobolev constant of any of the laws.
    record_lipschitz: of the set's summed gradient. gradient_bound: of one record; None where there is none (ridge).
    """

    loss: str
    records: int
    weights: int
    radius: float
    l2: float
    strong_convexity: float
    smoothness: float
    gradient_bound: float | None
    record_lipschitz: float
    kappa: float
    decay: float
    stationary_sobolev: float


class Route(Document):
    """One bound's number of steps (None: none suffices), the order it is least at, and the target rho there."""

    steps: int | None
    order: float | None
    target: float | None
    direction: Direction


class WorstCase(Document):
    """Steps when nothing is known of the records but the gradient bound; None: none, or no bound on the gradient.

    Attributes:
        langevin: Langevin unlearning (Chien et al. 2024, arXiv 2401.10371) for a removed record: the lesser of its loss
            at stationarity and T full steps, worn off at the same R.
        coupling: the same coupling with the gradient bound (full-batch case of Chien et al. 2024b, arXiv 2403.17105).
    """

    langevin: int | None
    coupling: int | None


class CertifiedUnlearning(Document):
    """k steps that certify (epsilon, delta), what they rest on, and what other bounds would ask.

    Attributes:
        steps: k; None when no number is certified, `reason` says why. At 0 training itself is private enough.
        bound, order, target, direction: the bound that decided, its order a, rho_a, and the direction of the two that
            needed more steps. divergence: its D_a after k steps, at most `target`.
        distance: bound on the expected distance of the coupled weights after training.
        share_of_retraining: k / T; 1 or more is vacuous: retraining costs no more.
    """

    format: Literal["expunge.certified/1"] = "expunge.certified/1"
    epsilon: float
    delta: float
    steps: int | None
    bound: Bound
    order: float | None
    target: float | None
    divergence: float | None
    direction: Direction
    forget_records: int
    descent: NoisyDescent
    constants: HeadConstants
    distance: float
    simulations: Simulations | None
    trajectory: Route
    coupling: Route
    worst_case: WorstCase
    share_of_retraining: float | None
    guarantee: str
    reason: str
    assumptions: tuple[str, ...]
