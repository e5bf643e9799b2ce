"""The only code besides pipelines, steps and materializers that knows ZenML and DVC."""
