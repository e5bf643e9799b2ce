"""Steps of stage: compliance."""
