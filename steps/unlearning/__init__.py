"""Steps of stage: unlearning."""
