"""The noisy trainer, its noise conventions, and the trajectory of checkpoints that it leaves."""

from expunge.training.config import NoiseConfig, ScheduleConfig, TrainingConfig
from expunge.training.predict import model_logits, predict
from expunge.training.stacked import StackedJob, StackedModels, train_stacked
from expunge.training.trainer import TrainingDiverged, train
from expunge.training.trajectory import Checkpoint, Trajectory

__all__ = [
    "Checkpoint", "NoiseConfig", "ScheduleConfig", "StackedJob", "StackedModels", "TrainingConfig",
    "TrainingDiverged", "Trajectory", "model_logits", "predict", "train", "train_stacked",
]  # fmt: skip
