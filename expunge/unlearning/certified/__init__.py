"""Certified unlearning of convex heads: noisy full-batch descent, and how many steps of it suffice."""

from expunge.unlearning.certified.bounds import HeadBounds
from expunge.unlearning.certified.certify import certify_head, steps_of_each_record
from expunge.unlearning.certified.descent import NoisyDescent, TrainedHead, retrain_head, train_head, unlearn_head
from expunge.unlearning.certified.document import CertifiedUnlearning, Simulations
from expunge.unlearning.certified.features import bounded_features
from expunge.unlearning.certified.problem import HeadProblem

__all__ = [
    "CertifiedUnlearning",
    "HeadBounds",
    "HeadProblem",
    "NoisyDescent",
    "Simulations",
    "TrainedHead",
    "bounded_features",
    "certify_head",
    "retrain_head",
    "steps_of_each_record",
    "train_head",
    "unlearn_head",
]
