"""Is the verifier's folder enough? Copied into an empty folder, with nothing installed but `cryptography`."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import ROOT, Case

VERIFY = ROOT / "expunge" / "compliance" / "verify"
ALLOWED = {"cryptography", *sys.stdlib_module_names}
LOADED_BY_CRYPTOGRAPHY = {"_cffi_backend", "cffi", "_openssl", "bcrypt"}


def alone(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# An interpreter that can import the standard library, the folder "verify" beside it, and what `cryptography` is made
# of; whatever else is asked for, installed or not, is refused by name and noted.
BARE = """
import importlib, importlib.abc, json, sys
from pathlib import Path

allowed = {"verify", "cryptography", "_cffi_backend", "cffi", "_openssl", "bcrypt", *sys.stdlib_module_names}


class Nothing(importlib.abc.MetaPathFinder):
    refused = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            self.refused.append(name)
            raise ImportError(f"{name} is not at hand")
        return None


sys.meta_path.insert(0, Nothing())
sys.path[:] = [*(p for p in sys.path if p), ".", *json.loads(sys.argv[1])]
main = importlib.import_module("verify.command").main
certificate = Path(sys.argv[2])
whole, outcome = certificate.read_bytes(), {"whole": main([str(certificate)]), "changed": []}
sys.stdout = open("said", "w")
for index in range(0, len(whole), int(sys.argv[3])):
    certificate.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
    outcome["changed"].append(main([str(certificate)]))
certificate.write_bytes(whole)
outcome["again"] = main([str(certificate)])
try:
    import zenml
except ImportError as error:
    outcome["control"] = str(error)
outcome["refused"] = Nothing.refused
heavy = {"expunge", "zenml", "torch", "sqlalchemy"}
outcome["loaded"] = sorted(heavy & {name.partition(".")[0] for name in sys.modules})
sys.__stdout__.write("OUTCOME" + json.dumps(outcome))
"""


def test_alone_without_anything_else_installed_it_finds_every_changed_byte(case: Case, tmp_path: Path) -> None:
    """`-I -S`: no site-packages, no environment; only the copy and the folder of `cryptography` are on the path."""
    empty = tmp_path / "empty"
    shutil.copytree(VERIFY, empty / "verify", ignore=shutil.ignore_patterns("__pycache__"))
    places = sorted({str(Path(one.origin).parents[up]) for one, up in _where_cryptography_is()})
    done = alone(empty, "-I", "-S", "-c", BARE, json.dumps(places), case.certificate, 7)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.partition("OUTCOME")[2])
    assert outcome["whole"] == outcome["again"] == 0
    assert len(outcome["changed"]) == -(-len(case.certificate.read_bytes()) // 7) and set(outcome["changed"]) == {5}
    # "org": Python's own copy module asks for Jython
    assert set(outcome["refused"]) <= {"org", "zenml"} and outcome["control"] == "zenml is not at hand"
    assert outcome["loaded"] == []


def _where_cryptography_is() -> list[tuple[Any, int]]:
    """The files of the package and of what its extension needs, and how many folders up the path entry is."""
    found = [(importlib.util.find_spec("cryptography"), 1), (importlib.util.find_spec("_cffi_backend"), 0)]
    return [(spec, up) for spec, up in found if spec is not None and spec.origin]


def test_it_runs_alone_in_an_empty_folder(case: Case, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(VERIFY, empty / "verify", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        ["-m", "verify", case.certificate],
        ["-I", "verify/__main__.py", case.certificate],
        ["-I", "verify", case.certificate],
    ):
        done = alone(empty, *command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("VERIFIED\n") and "NOT VERIFIED" not in done.stdout
    content = bytearray(case.certificate.read_bytes())
    content[100] ^= 1
    case.certificate.write_bytes(content)
    done = alone(empty, "-m", "verify", case.certificate)
    assert done.returncode == 5 and str(case.certificate) in done.stdout
    assert alone(empty, "-m", "verify", tmp_path / "none").returncode == 3
    assert alone(empty, "-m", "verify").returncode == 2


def test_alone_it_loads_nothing_but_the_standard_library_and_cryptography(case: Case, tmp_path: Path) -> None:
    shutil.copytree(VERIFY, tmp_path / "empty" / "verify", ignore=shutil.ignore_patterns("__pycache__"))
    before = alone(tmp_path, "-I", "-c", "import sys; print(*sys.modules)").stdout.split()
    script = "import runpy, sys; sys.argv = ['verify', sys.argv[1]]\n"
    script += "try: runpy.run_path('verify/__main__.py', run_name='__main__')\n"
    script += "except SystemExit as end: print('exit', end.code)\nprint('modules', *sys.modules)"
    done = alone(tmp_path / "empty", "-I", "-c", script, case.certificate)
    assert "exit 0" in done.stdout, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.rsplit("modules ", 1)[1].split()} - set(before)
    assert loaded - ALLOWED - {"verify", *LOADED_BY_CRYPTOGRAPHY} == set()


def test_its_source_imports_nothing_else() -> None:
    for path in VERIFY.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = {(node.module or "").split(".")[0]}
            else:
                assert not isinstance(node, ast.ImportFrom) or node.level == 1, path
                continue
            assert names <= ALLOWED, path
