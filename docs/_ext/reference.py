"""
A Sphinx extension: ``.. generated:: options`` puts what the code says of something into a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from . import facts
from .diagram import svg

_MAKERS: dict[str, Callable[[], Iterator[str]]] = {
    "handlers": facts.handler_lines,
    "hooks": facts.hook_lines,
    "options": facts.option_lines,
    "settings": facts.setting_lines,
    "states": facts.state_lines,
}


class Generated(SphinxDirective):
    """
    Lines that a function of :mod:`facts` makes.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return _parsed(self, _MAKERS[self.arguments[0]]())


class Replies(SphinxDirective):
    """
    A table of the replies that its content names, and says the meaning of.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        return _parsed(self, facts.reply_lines(line for line in self.content if line))


class StateDiagram(SphinxDirective):
    """
    The states, drawn: for HTML only, others have the table.
    """

    option_spec: ClassVar[Any] = {}

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", svg(), format="html")]


def _parsed(directive: SphinxDirective, lines: Iterable[str]) -> list[nodes.Node]:
    return directive.parse_text_to_nodes("\n".join(lines))


def _shorten(*event: Any) -> tuple[str | None, str | None]:
    """
    Show an interface in a signature by its name, and hide how attrs spells a default.
    """
    *_, signature, returns = event
    return _plain(signature), _plain(returns)


def _plain(text: str | None) -> str | None:
    text = text and re.sub(r"<InterfaceClass [\w.]*?(\w+)>", r"\1", text)
    return text and re.sub(r"attr_dict\['\w+'\]\.default", "...", text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("generated", Generated)
    app.add_directive("replies", Replies)
    app.connect("autodoc-process-signature", _shorten)
    app.add_directive("state-diagram", StateDiagram)
    return {"parallel_read_safe": True}
