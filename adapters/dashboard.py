"""ZenML's local dashboard: started for this project, without its first-time survey page."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from adapters.project import Project
from expunge.errors import ExpungeError, UsageError

HOST = "127.0.0.1"
WAIT_SECONDS = 120


def serve(project: Project, port: int) -> str:
    """Start the server beside this project's database, if it does not run yet; returns its address.

    It listens on this machine only and has no login: see the guide for a real one. Raises UsageError when something
    else uses the port, ExpungeError when it does not start.
    """
    address = f"http://{HOST}:{port}"
    marker = project.state / "dashboard.json"
    if _healthy(address):
        known = json.loads(marker.read_text()) if marker.is_file() else {}
        if known.get("port") != port:
            raise UsageError(f"Another server answers at {address}.", "Choose another port: --port.")
        return address
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UsageError(f"Port {port} is in use.", "Choose another one: --port.")
    log = project.state / "dashboard.log"
    environment = {
        **os.environ,
        "ZENML_SERVER_DEPLOYMENT_TYPE": "local",
        "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH",
        "ZENML_SERVER_AUTO_ACTIVATE": "1",
        "ZENML_SERVER_ALLOW_LOCAL_FILE_ACCESS": "true",
        "ZENML_SERVER_DASHBOARD_URL": address,
        "ZENML_SERVER": "true",
        "ZENML_DISABLE_DATABASE_MIGRATION": "true",
    }
    command = [
        sys.executable, "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", HOST, "--port", str(port),
        "--log-level", "warning",
    ]  # fmt: skip
    with log.open("w") as output:
        started = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    deadline = time.monotonic() + WAIT_SECONDS
    while not _healthy(address):
        if started.poll() is not None or time.monotonic() > deadline:
            raise ExpungeError(f"The dashboard did not start: {_last_line(log)}", f"Its log is {log}.")
        time.sleep(0.5)
    marker.write_text(json.dumps({"port": port, "pid": started.pid}))
    _skip_survey(address)
    return address


def stop(project: Project) -> bool:
    """Stop the server of this project; False when none runs."""
    import signal

    marker = project.state / "dashboard.json"
    if not marker.is_file():
        return False
    pid = json.loads(marker.read_text())["pid"]
    marker.unlink()
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _skip_survey(address: str) -> None:
    """The first visitor would otherwise be asked for a name and an address on every page."""
    body = {"email_opted_in": False, "user_metadata": {"finished_onboarding_survey": True}}
    request = urllib.request.Request(
        f"{address}/api/v1/current-user",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "no output"
