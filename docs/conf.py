"""
How Sphinx makes the documentation: ``sphinx-build -n -W docs build/html``.
"""

from __future__ import annotations

import sys
from pathlib import Path

# For this folder's own extension, whether or not txsmtpd is installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

from txsmtpd import __version__

project = "txsmtpd"
author = "txsmtpd contributors"
copyright = author
release = version = __version__

# The interfaces are zope's, of which autodoc sees neither methods nor signatures.
extensions = ["sphinx.ext.autodoc", "repoze.sphinx.autointerface", "docs._ext.reference"]

html_theme = "alabaster"
html_theme_options = {
    "description": "An SMTP receiver for Twisted",
    "page_width": "1080px",
    "fixed_sidebar": True,
}
html_show_copyright = False
html_copy_source = False

# `this` in a docstring is the name of something.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
add_module_names = False

# Pages are made without a network, so names of other projects lead nowhere; and neither do some of
# ours, which stand in signatures but mean nothing to a reader.  These are all.
_ELSEWHERE = (
    r"(abc|attrs?|collections|datetime|email|ipaddress|os|re|types|typing|twisted|zope)\..*",
    r"(Any|Awaitable|Callable|Clock|Coroutine|Deferred|IAddress|IProtocol|IReactorCore|IReactorTime|IStream.*)",
    r"(Callable\[\.\.\.|Iterable|Literal|Mapping|Sequence|TypeAlias|Failure|.*Error|Exception)",
    r"(Email(Message|Policy)|IOpenSSL.*|Network|Address|Generator|tuple\[.*)",
    r"txsmtpd\.(core\.hooks\.C|overrides\.M|testing\.replay\.Part)",
    r"txsmtpd\.(proxy\.(AF|PROTO|Command)|proxy_tlv\.TLVs)",
    r"(Content|When)",
)
nitpick_ignore_regex = [("py:.*", name) for name in _ELSEWHERE]
