"""ZenML steps, one a file, grouped by stage: typed inputs, named outputs, a few lines that call the library."""
