"""How each artifact is stored, what metadata it carries, what the dashboard shows of it. Nothing is ever pickled."""


def register() -> None:
    """Make every materializer known to ZenML."""
    from materializers import (
        documents,
        models,
        outputs,
        pages,
        prefixes,
        reproduction,
        scores,
        shards,
        tables,
        trajectories,
    )

    _ = (documents, models, outputs, pages, prefixes, reproduction, scores, shards, tables, trajectories)
