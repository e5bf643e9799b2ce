"""Methods behind one protocol, the budget predictor, the planner, the stop and the run."""
