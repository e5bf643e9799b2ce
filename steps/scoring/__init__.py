"""Steps of stage: scoring."""
