"""What do per-example gradient norms cost beside one plain pass, and beside torch.func, Opacus and BackPACK?

    python benchmarks/gradient_norms.py                      the table, about 10 minutes on 2 cores
    python benchmarks/gradient_norms.py --models cnn vit --json results.json --markdown
    python benchmarks/gradient_norms.py --kernels            what each kernel takes beside what the cost model says
    python benchmarks/gradient_norms.py --device cuda --no-peers --batch-factor 8

Needs `pip install backpack-for-pytorch==1.7.1` beside the development requirements for the BackPACK column.

Every round runs each candidate once, one after the other, and ratios are taken within a round, so that a busy machine
hits all alike; the median over the rounds is printed, with the quartiles. The plain pass is forward and backward of the
summed loss for all parameters, in eval mode, contiguous and channels-last: the faster one counts. Peers are compared
with a plain pass of the model they accept. Memory is the growth of the peak resident set of a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from norm_models import CASES
from norm_peers import PEERS

from expunge.privacy.gradient_norms import Passes, quiet_evaluation
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import cross_entropy
from expunge.privacy.norm_ways import Way
from expunge.privacy.plain_pass import plain_passes

OURS, BFLOAT16 = "ours", "ours, bfloat16"
_AGREEMENT = 1e-3


def our_pass(
    model: nn.Module, inputs: Tensor, targets: Tensor, low_precision: bool = False
) -> tuple[Callable[[], Tensor], KernelChoice]:
    """What scoring runs for a batch, the trial on the first one behind it."""
    choice = KernelChoice()
    passes = Passes(Way(model, cross_entropy, choice, low_precision), len(targets))

    def run() -> Tensor:
        with quiet_evaluation(model):
            return passes.norms(inputs, targets)

    run()
    assert passes.fast, passes.reason
    return run, choice


def seconds(run: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def rounds(candidates: dict[str, Callable[[], Any]], pairs: int, limit: float) -> dict[str, list[float]]:
    """Times of each candidate, one run a round, at least 5 rounds, up to `pairs` or about `limit` seconds."""
    for run in candidates.values():
        run()
    took: dict[str, list[float]] = {name: [] for name in candidates}
    started = time.perf_counter()
    while len(took["plain"]) < 5 or (len(took["plain"]) < pairs and time.perf_counter() - started < limit):
        for name, run in candidates.items():
            took[name].append(seconds(run))
    return took


def faster_plain(took: dict[str, list[float]]) -> str:
    return min((name for name in took if name.startswith("plain")), key=lambda name: median(took[name]))


def ratio(took: dict[str, list[float]], name: str) -> dict[str, float]:
    """Median and quartiles of the ratio to the faster plain pass, round by round."""
    found = [a / b for a, b in zip(took[name], took[faster_plain(took)], strict=True)]
    low, middle, high = quantiles(found, n=4)
    return {"ratio": middle, "low": low, "high": high, "milliseconds": 1e3 * median(took[name])}


def measure(
    name: str, pairs: int, limit: float, peers: bool, device: str = "cpu", batch_factor: int = 1
) -> dict[str, Any]:
    """All that is known of one model; `batch_factor`: how many times its batch (a GPU wants more than a CPU)."""
    case = CASES[name]
    model, inputs, targets = case.build()
    model = model.to(device)
    inputs = inputs.repeat(batch_factor, *[1] * (inputs.ndim - 1)).to(device)
    targets = targets.repeat(batch_factor).to(device)
    ours, choice = our_pass(model, inputs, targets)
    low, _ = our_pass(model, inputs, targets, low_precision=True)
    exact, rough = ours(), low()
    took = rounds({**plain_passes(model, cross_entropy, inputs, targets), OURS: ours, BFLOAT16: low}, pairs, limit)
    row: dict[str, Any] = {
        "model": name,
        "title": case.title,
        "batch": len(targets),
        "parameters": sum(p.numel() for p in model.parameters()),
        "goal": case.goal,
        "rounds": len(took["plain"]),
        "plain": {n: {"milliseconds": 1e3 * median(t)} for n, t in took.items() if n.startswith("plain")},
        "faster_plain": faster_plain(took),
        OURS: ratio(took, OURS),
        BFLOAT16: ratio(took, BFLOAT16) | {"largest_error": float((rough / exact - 1).abs().max())},
        "kernels": dict(choice.chosen),
        "peers": {},
    }
    if peers:
        for peer in PEERS:
            gc.collect()
            row["peers"][peer] = measure_peer(peer, name, exact, pairs, limit)
    return row


def measure_peer(peer: str, name: str, exact: Tensor, pairs: int, limit: float) -> dict[str, Any]:
    """A peer beside a plain pass of the model it accepted, and beside ours on it; or why it refused."""
    model, inputs, targets = CASES[name].build()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run, changes, accepted = PEERS[peer](model, inputs, targets)
            found = run().detach()
            same = accepted_copy(accepted).eval()
            ours, _ = our_pass(same, inputs, targets)
            expected = ours() if changes else exact
            took = rounds(
                {**plain_passes(same, cross_entropy, inputs, targets), OURS: ours, peer: run}, pairs, limit / 2
            )
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}" if str(error) else repr(error)}
    error = float((found.double() / expected.double() - 1).abs().max())
    result = ratio(took, peer) | {"changes": changes, "largest_difference": error, "rounds": len(took[peer])}
    result["slower_than_ours"] = median(a / b for a, b in zip(took[peer], took[OURS], strict=True))
    if error > _AGREEMENT:
        result["note"] = "its norms differ from the definition"
    return result


def accepted_copy(model: nn.Module) -> nn.Module:
    """The model that a peer accepted, without the peer's hooks."""
    clean = copy.deepcopy(model)
    for layer in clean.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            getattr(layer, hooks).clear()
    for p in clean.parameters():
        p.grad = None
    return clean


def memory(name: str) -> dict[str, float]:
    """Growth of the peak resident set, MiB, of the plain passes and of ours, each in a process of its own."""
    found = {}
    for what in ("plain", "plain, channels-last", OURS):
        done = subprocess.run(
            [sys.executable, __file__, "--memory-of", name, what], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found[what] = float(done.stdout)
    return found


def memory_of(name: str, what: str) -> float:
    model, inputs, targets = CASES[name].build()
    some = slice(0, 2)
    with quiet_evaluation(model):
        if what == OURS:
            passes = Passes(Way(model, cross_entropy), len(targets))
            passes.norms(inputs[some], targets[some])
            run = lambda: passes.norms(inputs, targets)  # noqa: E731
        else:
            run = plain_passes(model, cross_entropy, inputs, targets)[what]
            plain_passes(model, cross_entropy, inputs[some], targets[some])[what]()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = status("VmRSS")
        for _ in range(3):
            run()
    return (status("VmHWM") - before) / 1024


def status(field: str) -> float:
    """A field of /proc/self/status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))


def kernels(names: list[str]) -> list[dict[str, Any]]:
    """Each layer's kernels: time for an example, and what the cost model says."""
    found: dict[str, dict[str, Any]] = {}

    class Timing(KernelChoice):
        def run(self, layer: str, key: str, candidates: Any) -> Tensor:
            if len(candidates) > 1 and key not in found:
                timed = {}
                for kernel, candidate in candidates.items():
                    result = candidate.run()
                    timed[kernel] = 1e9 * median(seconds(candidate.run) for _ in range(5)) / len(result)
                said = {kernel: candidate.cost for kernel, candidate in candidates.items()}
                chosen = min(said, key=lambda kernel: said[kernel])
                regret = timed[chosen] / min(timed.values())
                found[key] = {"layer": key, "measured": timed, "said": said, "chosen": chosen, "regret": regret}
            return super().run(layer, key, candidates)

    for name in names:
        model, inputs, targets = CASES[name].build()
        with quiet_evaluation(model):
            Way(model, cross_entropy, Timing()).one_pass(inputs, targets)
    return list(found.values())


def machine() -> dict[str, Any]:
    packages = {}
    for package in ("torch", "torchvision", "opacus", "backpack-for-pytorch"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "not installed"
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **packages,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The table for docs/gradient-norms.md."""
    peers = [peer for peer in PEERS if any(row["peers"].get(peer) for row in result["rows"])]
    head = ["model", "batch", "plain, ms", "goal", "ours", "bfloat16 (largest error)", "memory", *peers]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in result["rows"]:
        ours, low = row[OURS], row[BFLOAT16]
        cells = [
            row["title"],
            str(row["batch"]),
            f"{row['plain'][row['faster_plain']]['milliseconds']:.1f}",
            f"{row['goal']:g}",
            f"**{ours['ratio']:.2f}** ({ours['low']:.2f} to {ours['high']:.2f})",
            f"{low['ratio']:.2f} ({low['largest_error']:.1e})",
            f"{row['memory_ratio']:.2f}" if row.get("memory_ratio") else "",
        ]
        for peer in peers:
            found = row["peers"].get(peer, {})
            if "ratio" in found:
                cells.append(f"{found['ratio']:.1f}" + (f" [{found['changes']}]" if found["changes"] else ""))
            else:
                cells.append("refused" if found else "")
        lines.append("| " + " | ".join(cells) + " |")
    refusals = [
        f"* {peer} on {row['title']}: {row['peers'][peer]['refused']}"
        for row in result["rows"]
        for peer in peers
        if "refused" in row["peers"].get(peer, {})
    ]
    return "\n".join([*lines, "", *refusals])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--pairs", type=int, default=31, help="most rounds a model")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long a model, without its peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; peers and memory are measured on the CPU only")
    parser.add_argument("--batch-factor", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything measured to this file, model by model")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--from-json", type=Path, help="print the table of an earlier run")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_of(*options.memory_of))
        return
    if options.from_json:
        print(as_markdown(json.loads(options.from_json.read_text())))
        return
    if options.kernels:
        for line in kernels(options.models):
            times = ", ".join(f"{k} {t / 1e3:.1f} ({line['said'][k] / 1e3:.1f})" for k, t in line["measured"].items())
            print(
                f"{line['layer']}\n    us an example, measured (said): {times}; {line['chosen']}: {line['regret']:.2f}"
            )
        return
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    for name in options.models:
        on_cpu = options.device == "cpu"
        peers_too = on_cpu and not options.no_peers
        row = measure(name, options.pairs, options.seconds, peers_too, options.device, options.batch_factor)
        row["memory"] = memory(name) if on_cpu else {}
        least = min((v for k, v in row["memory"].items() if k != OURS), default=0.0)
        row["memory_ratio"] = row["memory"].get(OURS, 0.0) / least if least > 1 else None
        result["rows"].append(row)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
        peers = ", ".join(
            f"{peer} {found['ratio']:.2f}" if "ratio" in found else f"{peer} refused"
            for peer, found in row["peers"].items()
        )
        print(
            f"{row['title']:24s} ours {row[OURS]['ratio']:.2f} ({row[OURS]['low']:.2f} to {row[OURS]['high']:.2f}),"
            f" goal {row['goal']:g}, bfloat16 {row[BFLOAT16]['ratio']:.2f}, memory {row['memory_ratio'] or 0:.2f}"
            f"; {peers}",
            flush=True,
        )
    if options.markdown:
        print(as_markdown(result))


if __name__ == "__main__":
    main()
