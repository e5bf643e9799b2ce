"""The step that measures a declared scenario."""
