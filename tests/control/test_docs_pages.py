"""The pages hold together: links, commands, metrics, decision records, the tutorial's example."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control import status
from control.cli import COMMANDS, PROCESSES
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash
from programs.score import Score
from tests.control.command_line import limbeck

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
EXAMPLE = ROOT / "examples" / "tickets"
TUTORIAL = ROOT / "docs" / "tutorial" / "first-student.md"
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [page for folder in ("docs", "examples", "deploy") for page in (ROOT / folder).rglob("*.md")]
)
PACKAGES = ("gateway", "router", "distiller", "traces", "programs", "control", "limbeck")

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
_COMMAND = re.compile(r"(?:[\w./]*/)?limbeck (?P<name>[a-z][a-z-]*)(?P<rest>[^|;&]*)")


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text())


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """File and anchor of every relative link."""
    for target in _LINK.findall(prose(page)):
        if not target.startswith(("http://", "https://", "mailto:")):
            name, _, anchor = target.partition("#")
            yield ((page.parent / name).resolve() if name else page), anchor


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Name and arguments of every command `limbeck NAME ...` in code; not what is an output."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    for language, block in _FENCED.findall(page.read_text()):
        if _PROMPT.search(block):
            spans += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        elif language in ("sh", "bash"):
            spans += block.splitlines()
    for span in spans:
        found = _COMMAND.match(span.split("sh -c '", 1)[-1].split("&& ")[-1])
        if found is not None:
            yield found["name"], found["rest"].partition("#")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        f"{target}#{anchor}"
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_is_reachable_from_the_index() -> None:
    seen, waiting = {INDEX}, [INDEX]
    while waiting:
        for target, _ in links(waiting.pop()):
            if target.suffix == ".md" and target not in seen:
                seen.add(target)
                waiting.append(target)
    of_its_own = {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"}
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen | of_its_own] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_options(page: Path) -> None:
    known = {**COMMANDS, **PROCESSES}
    for name, rest in commands(page):
        assert name in known, f"limbeck {name}"
        parser = argparse.ArgumentParser()
        importlib.import_module(known[name].module).arguments(parser)
        usage = parser.format_help()
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest):
            assert re.search(rf"{option}\b", usage), f"limbeck {name} {option}"


def test_the_pages_name_commands() -> None:
    """The search above finds them."""
    named = {name for page in PAGES for name, _ in commands(page)}
    assert named >= set(COMMANDS)


def metrics_in_code() -> dict[str, tuple[str, ...]]:
    """Name as Prometheus sees it -> labels, of every metric that a package makes."""
    found: dict[str, tuple[str, ...]] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found.update(_metric(node.func.id, node))
    return found


def _metric(kind: str, call: ast.Call) -> dict[str, tuple[str, ...]]:
    kinds = ("Counter", "Gauge", "Histogram", "Summary")
    name = call.args[0] if call.args else None
    if kind.removesuffix("MetricFamily") not in kinds or not isinstance(name, ast.Constant):
        return {}
    labels: tuple[str, ...] = ()
    for given in (*call.args[2:3], *(key.value for key in call.keywords if key.arg == "labels")):
        labels = tuple(ast.literal_eval(given))
    if kind == "CounterMetricFamily":
        return {f"{name.value}_total": labels}
    if kind == "Counter":  # prometheus_client adds when it began
        return {f"{name.value}_total": labels, f"{name.value}_created": labels}
    return {str(name.value): labels}


def test_the_documented_metrics_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(limbeck_\w+)` \| \w+ \|([^|]*)\|", text, re.MULTILINE)
    documented = {name: tuple(re.findall(r"\w+", labels)) for name, labels in rows}
    assert len(documented) == len(rows)
    assert documented == metrics_in_code()


def test_pages_name_only_metrics_that_exist() -> None:
    known = metrics_in_code()
    named = {
        (str(page.relative_to(ROOT)), name)
        for page in PAGES
        for name in re.findall(r"`(limbeck_\w+)", page.read_text())
    }
    assert {pair for pair in named if pair[1] not in known} == set()


def test_decision_records_are_numbered_without_gaps() -> None:
    records = sorted((ROOT / "docs" / "decisions").iterdir())
    assert [one.name[:5] for one in records] == [f"{n:04}-" for n in range(1, len(records) + 1)]
    for one in records:
        assert one.read_text().startswith(f"# {one.name[:4]}: ")


@pytest.mark.parametrize(
    "struct",
    [
        one
        for one in vars(status).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct)
        # what it imports is the router's
        if one.__module__ == status.__name__
    ],
    ids=lambda struct: struct.__name__,
)
def test_every_field_of_the_admin_api_is_documented(struct: type[msgspec.Struct]) -> None:
    text = (ROOT / "docs" / "reference" / "admin-api.md").read_text()
    assert [name for name in struct.__struct_fields__ if f"`{name}`" not in text] == []


def test_the_example_is_accepted_and_is_what_the_tutorial_shows() -> None:
    done = limbeck("config", "check", cwd=EXAMPLE)
    assert done.returncode == 0, done.stderr
    shown = dict(_FENCED.findall(TUTORIAL.read_text()))["toml"]
    assert shown in (EXAMPLE / "limbeck.toml").read_text()


async def test_the_metric_of_the_example_can_fail() -> None:
    name = "tickets:correct"
    hashed = metric_hash(name, EXAMPLE)
    metric = metric_for(name, metric_hash=hashed, route="tickets", user_dir=EXAMPLE)
    try:
        example = {"text": "where is it", "category": "track_order"}
        scores = [await metric.score(example, {"category": c}) for c in ("track_order", "refund")]
    finally:
        await metric.close()
    assert scores == [Score(value=1.0), Score(value=0.0)]


def test_the_unit_starts_limbeck_as_the_command_line_has_it() -> None:
    unit = (ROOT / "deploy" / "limbeck.service").read_text()
    start = re.search(r"^ExecStart=(\S+) (\S+)$", unit, re.MULTILINE)
    assert start is not None
    assert os.path.basename(start[1]) == "limbeck"
    assert start[2] in COMMANDS
