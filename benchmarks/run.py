"""Run the benchmarks and keep their results.

    python benchmarks/run.py [gateway|instructions|collector|rollback|all]
                             [--harness DIR] [--rounds N]

Prints Markdown; writes the same to benchmarks/results/DATE-NAME.md with machine and versions.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PYTHON = Path(sys.executable)
_VERSIONS = ("limbeck", "uvicorn", "uvloop", "httptools", "msgspec", "duckdb", "fastapi")


def gateway(args: argparse.Namespace) -> str:
    """CPU per request with capture on, beside nginx; the collector is counted apart."""
    compare = args.harness / "compare.sh"
    missing = [name for name in ("nginx", "wrk", "cc") if not _which(name)]
    if not compare.is_file() or missing:
        return f"skipped: needs {compare} and {', '.join(missing) or 'nothing else'}\n"
    spool = Path(tempfile.mkdtemp(prefix="limbeck-bench-"))
    ours = f"{PYTHON} {HERE / 'gateway_only.py'} {{port}} {{upstream}} {spool / 'data'}"
    out = spool / "out"
    subprocess.run(
        [str(compare), "--ours", ours, "--ours-name", "limbeck", "--ours-port", "18080",
         "--peers", "nginx", "--rounds", str(args.rounds), "--secs", str(args.secs),
         "--out", str(out)],
        check=True, env=_environment(),
    )  # fmt: skip
    table = (out / "table.md").read_text()
    # Only the table: the first lines name the command, with this machine's folders.
    table = table[table.index("\n|") :].strip() if "\n|" in table else table
    collected = _collector(spool / "data")
    shutil.rmtree(spool, ignore_errors=True)
    what = "The collector, over what this run left in the spool, the 245 KB prompts among it"
    return f"{table}\n\n{what}: {collected}\n"


def instructions(args: argparse.Namespace) -> str:
    """Instructions that a worker executes for a request, under valgrind."""
    if not _which("valgrind"):
        return "skipped: needs valgrind\n"
    return _output("instructions.py")


def collector(args: argparse.Namespace) -> str:
    """CPU per row of the collector, over frames like those of the gateway benchmark."""
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as folder:
        _output("fill.py", folder, "40000")
        return _collector(Path(folder)) + "\n"


def rollback(args: argparse.Namespace) -> str:
    """From the start of `limbeck rollback` to the last worker's acknowledgement."""
    return _output("rollback.py", "--times", str(args.times))


def _collector(data: Path) -> str:
    return _output("collect.py", str(data)).strip()


def _output(script: str, *words: str) -> str:
    done = subprocess.run(
        [str(PYTHON), str(HERE / script), *words],
        check=True, stdout=subprocess.PIPE, text=True, env=_environment(),
    )  # fmt: skip
    return done.stdout


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")


def _environment() -> dict[str, str]:
    return {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _machine() -> str:
    model = platform.processor() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS)
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}"
    )


BENCHMARKS: dict[str, Callable[[argparse.Namespace], str]] = {
    "gateway": gateway,
    "instructions": instructions,
    "collector": collector,
    "rollback": rollback,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--harness", type=Path, default=HERE.parent.parent / "shared" / "bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=int, default=3)
    parser.add_argument("--times", type=int, default=20, help="rollbacks of each kind")
    args = parser.parse_args()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for name in BENCHMARKS if args.name == "all" else [args.name]:
        run = BENCHMARKS[name]
        text = f"# {name}\n\n{run.__doc__}\n\n{today}; {_machine()}\n\n{run(args)}"
        print(text)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{today}-{name}.md").write_text(text)


if __name__ == "__main__":
    main()
