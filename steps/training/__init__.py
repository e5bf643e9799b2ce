"""Steps of stage: training."""
