"""Imports go one way between the parts (docs/design.md), and the agent stays light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ALLOWED: dict[str, set[str]] = {
    "proto": set(),
    "alerting": set(),
    "client": set(),
    "agent": {"proto", "alerting.health", "alerting.health_extras"},
    "hub": {"proto", "alerting", "client"},
    "tui": {"client"},
    "desktop": {"client"},
    "dashboards": {"proto"},
    "migrations": {"hub"},
    "migrations.versions": set(),
    "cli": {"proto", "alerting", "client", "agent", "hub", "tui", "desktop", "migrations"},
}
"""Part → what it may import of gpufleet besides itself; a dotted name allows that module only."""

HEAVY = {"numpy", "asyncio", "pydantic", "sqlalchemy", "fastapi", "uvicorn", "alembic", "orjson"}
FORBIDDEN: dict[str, set[str]] = {
    "agent": HEAVY,
    "alerting.health": HEAVY,
    "alerting.health_extras": HEAVY,
    "client": HEAVY - {"asyncio"},
    "proto": HEAVY,
    "alerting": HEAVY - {"numpy"},
}
"""Part → packages from outside that it must not import: an agent's memory is budgeted."""

LAZY_ONLY = {"cli"}
"""Parts that import others inside functions only, so that `gpufleet --help` is quick."""


def sources() -> list[Path]:
    """Every Python file of every part."""
    return sorted(
        path
        for path in ROOT.glob("*/gpufleet/**/*.py")
        if path.relative_to(ROOT).parts[0] not in (".venv", "tests", "build")
    )


def module_name(path: Path, root: Path = ROOT) -> str:
    """``agent/gpufleet/agent/nvml/calls.py`` → ``agent.nvml.calls``."""
    parts = path.relative_to(root).with_suffix("").parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The longest key of ALLOWED that the module is or lies in."""
    fitting = [part for part in ALLOWED if module == part or module.startswith(f"{part}.")]
    assert fitting, f"gpufleet.{module} belongs to no part that this test knows"
    return max(fitting, key=len)


def typing_only(branch: ast.If) -> bool:
    """``if TYPE_CHECKING:`` loads nothing."""
    return ast.unparse(branch.test).endswith("TYPE_CHECKING")


def imported(tree: ast.Module, module: str, package: bool) -> Iterator[tuple[str, bool]]:
    """Absolute names that a module imports, and whether it does so at its top level."""

    def walk(node: ast.AST, top: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, top
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parents = f"gpufleet.{module}".split(".")
                    kept = parents[: len(parents) - child.level + package]
                    base = ".".join([*kept, base] if base else kept)
                for alias in child.names:
                    yield f"{base}.{alias.name}", top
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
                yield from walk(child, top and isinstance(child, ast.If) and not typing_only(child))
            else:
                yield from walk(child, top)

    yield from walk(tree, True)


def inside(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def violations(path: Path, root: Path = ROOT) -> Iterator[str]:
    """One sentence for each import that a file must not have."""
    module = module_name(path, root)
    part = part_of(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, top in imported(tree, module, path.name == "__init__.py"):
        if inside(name, "gpufleet"):
            target = name.removeprefix("gpufleet").removeprefix(".")
            if not target:
                yield f"{path}: imports gpufleet itself, which is only a namespace"
            elif inside(target, part.split(".")[0]):
                if part == "migrations.versions":
                    yield f"{path}: a migration stands alone, yet imports {name}"
            elif not any(inside(target, allowed) for allowed in ALLOWED[part]):
                yield f"{path}: {part} must not import {name}"
            elif top and part in LAZY_ONLY:
                yield f"{path}: imports {name} at its top level; do it inside the function"
        else:
            forbidden = set().union(
                *(names for key, names in FORBIDDEN.items() if inside(module, key))
            )
            if name.split(".")[0] in forbidden:
                yield f"{path}: {module} must not import {name}"


def test_every_part_imports_only_what_it_may() -> None:
    found = [sentence for path in sources() for sentence in violations(path)]
    assert not found, "\n".join(found)


def test_the_walk_sees_the_parts_of_this_checkout() -> None:
    parts = {part_of(module_name(path)) for path in sources()}
    assert {"proto", "agent", "alerting", "client", "hub", "cli", "migrations"} <= parts


def test_no_part_has_an_init_file_in_the_shared_namespace() -> None:
    assert not list(ROOT.glob("*/gpufleet/__init__.py"))


def test_a_folder_of_the_agent_loads_none_of_its_modules_by_itself() -> None:
    for path in ROOT.glob("agent/gpufleet/agent/**/__init__.py"):
        docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr), path
        assert not rest, f"{path}: a collector that was not chosen costs memory"


@pytest.mark.parametrize(
    ("file", "code", "word"),
    [
        ("agent/gpufleet/agent/new.py", "import gpufleet.hub.views", "must not import"),
        ("agent/gpufleet/agent/new.py", "from ..hub import views", "must not import"),
        ("agent/gpufleet/agent/new.py", "from gpufleet.alerting import rules", "must not import"),
        ("agent/gpufleet/agent/new.py", "def f():\n    import numpy as np", "numpy"),
        ("agent/gpufleet/agent/new.py", "from asyncio import run", "asyncio"),
        ("alerting/gpufleet/alerting/new.py", "from gpufleet.proto import catalog", "must not"),
        ("hub/gpufleet/hub/new.py", "from gpufleet.tui import app", "must not import"),
        ("hub/gpufleet/client/new.py", "from gpufleet.hub import views", "must not import"),
        ("hub/gpufleet/client/new.py", "import pydantic", "pydantic"),
        ("hub/gpufleet/cli/new.py", "from gpufleet.hub import app", "top level"),
        (
            "migrations/gpufleet/migrations/versions/new.py",
            "from gpufleet.hub.store import tables",
            "must not import",
        ),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, code: str, word: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert word in "\n".join(violations(path, tmp_path))


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("agent/gpufleet/agent/new.py", "from gpufleet.alerting.health import judge"),
        ("agent/gpufleet/agent/new.py", "from . import model\nfrom .model import Values"),
        ("hub/gpufleet/cli/new.py", "def run():\n    from gpufleet.hub import app"),
        ("hub/gpufleet/hub/store/__init__.py", "from .. import views"),
        ("migrations/gpufleet/migrations/env.py", "from gpufleet.hub.store import tables"),
    ],
)
def test_an_allowed_import_passes(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert list(violations(path, tmp_path)) == []
