"""ZenML pipelines; each reads like the paragraph that describes it. All are static: every orchestrator can run them."""
