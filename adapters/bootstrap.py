"""What must happen before ZenML is imported: its environment, its first start under a lock, where our code lies."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from adapters.project import CODE_ROOT, Project, use_project

_started: Project | None = None


def set_environment(project: Project, debug: bool = False) -> None:
    """Environment of ZenML, DVC and torch for this process; what the user has set stays as it is.

    ZenML's state goes below the project, unless the user already has a ZenML of their own in the environment.
    """
    own_zenml = any(name in os.environ for name in ("ZENML_CONFIG_PATH", "ZENML_STORE_URL"))
    if not own_zenml:
        os.environ["ZENML_CONFIG_PATH"] = str(project.zenml)
        os.environ.setdefault("ZENML_LOCAL_STORES_PATH", str(project.stores))
    defaults = {
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_AUTO_OPEN_DASHBOARD": "false",
        "ZENML_ENABLE_REPO_INIT_WARNINGS": "false",
        "ZENML_LOGGING_COLORS_DISABLED": "true",
        "ZENML_LOGGING_VERBOSITY": "INFO",
        "ZENML_DISABLE_INTERACTIVE_INPUT": "true",
        # Values that a dynamic pipeline hands to its steps are parameters, as in a static one, never artifacts.
        "ZENML_PARAMETER_SIZE_THRESHOLD": "-1",
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(project.state / "dvc-site-cache"),
        "DO_NOT_TRACK": "1",
        # Waiting threads must sleep: on a busy machine spinning ones made stacked training fifteen times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TQDM_DISABLE": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def start(project: Project, debug: bool = False) -> None:
    """Make ZenML ready for this project; called once a process, before any other ZenML import.

    Several processes may start at once: ZenML writes its configuration non-atomically, so the first Client of every
    process is made under a file lock.
    """
    global _started
    use_project(project)
    if _started == project:
        return
    project.state.mkdir(parents=True, exist_ok=True)
    for folder in (project.zenml, project.stores):
        folder.mkdir(parents=True, exist_ok=True)
    set_environment(project, debug)
    from filelock import FileLock

    with FileLock(project.lock("zenml")), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import zenml  # noqa: F401  (its handlers exist from here on)

        _quiet(debug)
        from zenml.client import Client
        from zenml.utils import source_utils

        # Without it the steps of a console script have an unknown source.
        source_utils.set_custom_source_root(str(CODE_ROOT))
        client = Client()
        _ = client.active_stack_model
        _ = client.active_project
    _started = project


def _quiet(debug: bool) -> None:
    """Keep other libraries' logs off the terminal (ZenML still stores them with each step), unless debugging."""
    logging.getLogger("dvc").setLevel(logging.WARNING if debug else logging.ERROR)
    logging.getLogger("dvc_data").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setStream(sys.stderr)  # stdout is for results
            if not debug:
                handler.setLevel(logging.CRITICAL + 1)
