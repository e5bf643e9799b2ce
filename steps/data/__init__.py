"""Steps of stage: data."""
