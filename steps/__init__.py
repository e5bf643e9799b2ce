"""ZenML steps, one a file, grouped by stage: typed inputs, named outputs, a few lines that call the library."""

import materializers

# Whoever imports a step, an orchestrator too, must store its outputs our way: ZenML's own way is pickle.
materializers.register()
