"""What did a model say of each record while it trained? Logits at every kept checkpoint of a trajectory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from expunge.data import RecordTable
from expunge.training import Trajectory
from expunge.training.predict import predict


def trajectory_logits(trajectory: Trajectory, table: RecordTable, device: str = "cpu") -> npt.NDArray[np.float32]:
    """Logits float32 [c, n, classes] of the records of `table` at the kept checkpoints, in eval mode.

    For the difficulty baselines of METHOD section 8; the final weights are not among the checkpoints.

    Raises:
        IntegrityError: a checkpoint that is missing or changed. UsageError: weights of another model.
    """
    states = (trajectory.state(checkpoint).model_state() for checkpoint in trajectory.kept)
    return np.stack([predict(trajectory.model_spec, state, table, device) for state in states])
