"""Steps of stage: evaluation."""
