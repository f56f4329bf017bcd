"""
The architecture, as far as imports show it.

Who may import whom holds for every import, also one within a function.  For cycles only those count
that run when a module is imported: a later one is how a cycle is broken on purpose.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txsmtpd

HERE = Path(txsmtpd.__file__).parent
LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def module_name(path: Path) -> str:
    parts = path.relative_to(HERE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(HERE.rglob("*.py"))}


def statements(node: ast.AST, later: bool) -> Iterator[ast.AST]:
    """
    All there is in a tree, with or without what does not run at once.
    """
    yield node
    if not later and isinstance(node, LATER):
        return
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        if later or not typing_only:
            yield from statements(child, later)


def imports(module: str, *, later: bool = True) -> set[str]:
    """
    The modules that one imports.
    """
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in statements(ast.parse(FILES[module].read_text("utf-8")), later):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(filter(None, [*(above if node.level else []), node.module]))
            names = {f"{base}.{alias.name}" for alias in node.names}
            # Either modules of a package, or names in a module.
            found |= (names & FILES.keys()) or {base}
    return found


def within(modules: Iterable[str], *places: str) -> set[str]:
    return {m for m in modules for place in places if m == place or m.startswith(f"{place}.")}


class LayersTests(SynchronousTestCase):
    """
    Which way imports run.
    """

    def assertNoImport(self, importers: Iterable[str], *places: str) -> None:
        found = {module: within(imports(module), *places) for module in importers}
        self.assertEqual({}, {module: places for module, places in found.items() if places})

    def test_no_twisted(self) -> None:
        """
        Without Twisted there is still a dialog.
        """
        places = (f"txsmtpd.{each}" for each in ("core", "sasl", "extensions", "interfaces"))
        free = within(FILES, *places)
        self.assertGreater(len(free), 20)
        self.assertNoImport(free, "twisted")

    def test_core_knows_nothing_above(self) -> None:
        """
        Not even the extensions; and besides itself it imports only the contract.
        """
        core = within(FILES, "txsmtpd.core")
        leaves = within(FILES, "txsmtpd.sasl")
        above = FILES.keys() - core - leaves - {"txsmtpd.interfaces"}
        self.assertNoImport(core, *(above - {"txsmtpd"}))
        self.assertNotIn("txsmtpd", set().union(*map(imports, core)))

    def test_extensions_know_no_dialog(self) -> None:
        extensions = within(FILES, "txsmtpd.extensions")
        ours = within(FILES, "txsmtpd") - {"txsmtpd"}
        allowed = within(
            ours, "txsmtpd.core", "txsmtpd.extensions", "txsmtpd.interfaces", "txsmtpd.sasl"
        )
        self.assertNoImport(extensions, "txsmtpd.core.dialog", *(ours - allowed))

    def test_replies_know_nothing(self) -> None:
        for leaf in ("replies", "content", "states", "grammar", "addresses"):
            self.assertNoImport([f"txsmtpd.core.{leaf}"], "txsmtpd")
        ours = imports("txsmtpd.core.settings") & FILES.keys()
        self.assertEqual({"txsmtpd.core.addresses"}, ours)

    def test_mechanisms_know_nothing(self) -> None:
        sasl = within(FILES, "txsmtpd.sasl")
        self.assertNoImport(sasl, *(FILES.keys() - sasl - {"txsmtpd"}))

    def test_handlers_know_the_contract(self) -> None:
        """
        A handler is what anybody could write.
        """
        handlers = within(FILES, "txsmtpd.handlers")
        self.assertNoImport(handlers, "txsmtpd.protocol", "txsmtpd.factory", "txsmtpd.core.dialog")

    def test_no_cycles(self) -> None:
        graph = {module: within(imports(module, later=False), *FILES) for module in FILES}
        while graph:
            done = {module for module, needs in graph.items() if not needs & graph.keys()}
            self.assertTrue(done, f"these import each other, or what does: {sorted(graph)}")
            graph = {module: needs for module, needs in graph.items() if module not in done}

    def test_it_looks(self) -> None:
        """
        These tests would notice.
        """
        self.assertIn("txsmtpd.interfaces", imports("txsmtpd.core.hooks"))
        self.assertIn("txsmtpd.core.replies", imports("txsmtpd.core.verbs"))
        self.assertIn("twisted.internet.defer", imports("txsmtpd.steps"))
        self.assertLess(imports("txsmtpd", later=False), imports("txsmtpd"))


class RunTests(SynchronousTestCase):
    """
    The same in a process of its own.
    """

    def test_without_twisted(self) -> None:
        program = (
            "import sys, txsmtpd.core.dialog, txsmtpd.extensions.chunking, txsmtpd.core.verbs\n"
            "print(sorted(name for name in sys.modules if name.split('.')[0] == 'twisted'))\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE.parent
        )
        self.assertEqual(("[]\n", "", 0), (run.stdout, run.stderr, run.returncode))
