"""
Tests for txsmtpd.handlers.template.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.handlers.template import NAME_LIMIT, Template

US = "mx.example"

#: Local parts, without quotes, that want out of their directory, and the names that they get.
HOSTILE = {
    "..": "%2E.",
    ".": "%2E",
    "...": "%2E..",
    "../../etc/passwd": "%2E.%2F..%2Fetc%2Fpasswd",
    "/etc/passwd": "%2Fetc%2Fpasswd",
    "a/b": "a%2Fb",
    "/": "%2F",
    "//": "%2F%2F",
    "a/../../b": "a%2F..%2F..%2Fb",
    ".hidden": "%2Ehidden",
    "%2E%2E": "%252e%252e",
    "%2f": "%252f",
    "..\\..": "%2E.\\..",
    "a\x00b": "a%00b",
    "\x00": "%00",
    "a\r\nb": "a%0D%0Ab",
    "\x7f": "%7F",
    "a\x85b": "a%C2%85b",
    "a\u2028b": "a%E2%80%A8b",
    "\ud800": "%ED%A0%80",
    "cur": "%63ur",
    "NEW": "%6Eew",
    "tmp": "%74mp",
    "{local}": "{local}",
    "$HOME": "$home",
    "~root": "~root",
    " ": " ",
    "a@b": "a@b",
    "-rf": "-rf",
    '"': '"',
}

_CHARACTERS = st.characters(codec=None)


def quoted(local: str) -> str:
    """
    A local part as an address has it, whatever it is.
    """
    return '"' + "".join(f"\\{each}" for each in local) + '"'


class ParseTests(SynchronousTestCase):
    def fails(self, text: str, sentence: str) -> None:
        error = self.assertRaises(ValueError, Template.parse, text)
        self.assertEqual(sentence, str(error))

    def test_base(self) -> None:
        """
        It is what stands before the first field, and does not move with the process.
        """
        here = os.getcwd()
        for text, base in {
            "/var/mail/{local}": "/var/mail",
            "/var//mail/./x/../{domain}/{local}/Maildir": "/var/mail",
            "/{local}": "/",
            "{local}": here,
            "mail/{local}": os.path.join(here, "mail"),
            "./user-{local}": here,
            "../{local}": os.path.dirname(here),
            "/{{x}}/{local}": "/{x}",
        }.items():
            self.assertEqual(base, Template.parse(text).base, text)

    def test_fields(self) -> None:
        sentence = "maildir knows {address}, {local}, {domain} and {detail}; braces are {{ and }}"
        for text in (
            "/x/{user}",
            "/x/{}",
            "/x/{0}",
            "/x/{local!r}",
            "/x/{local:>9}",
            "/x/{local.__class__}",
            "/x/{local[0]}",
            "/x/{LOCAL}",
            "/x/{local",
            "/x/local}",
            "/x/{local/domain}",
            "/x/{local:{domain}}",
        ):
            self.fails(text, sentence)

    def test_without_a_recipient(self) -> None:
        sentence = "maildir wants {address}, {local} or {domain} in a path with braces"
        for text in ("/x/{detail}", "/x/{{local}}", "/x", ""):
            self.fails(text, sentence)

    def test_upwards(self) -> None:
        for text in ("/x/{local}/..", "/x/{local}/../{domain}"):
            self.fails(text, "maildir wants no .. behind what stands in braces")

    def test_fields_that_touch(self) -> None:
        """
        ab@c.d and a@bc.d would have one mailbox.
        """
        for text in ("/x/{local}{domain}", "/x/{local}/y-{detail}{address}z", "/{local}{local}"):
            self.fails(text, "maildir wants something between two fields, such as {local}@{domain}")
        for text in ("/x/{local}@{domain}", "/x/{local}{{{domain}", "/x/{{{local}}}{{{detail}}}"):
            Template.parse(text)

    def test_detail_in_the_middle(self) -> None:
        """
        bob+ann@c.example would have a mailbox within that of ann@c.example.
        """
        sentence = "maildir wants nothing behind /{detail}/, but may have /.{detail}/ there"
        for text in ("/x/{detail}/{local}", "/x/{local}/{detail}/y", "{detail}/{detail}/{local}"):
            self.fails(text, sentence)
        for text in ("/x/{local}/{detail}/", "/x/{local}/{detail}/./", "/x/{local}/.{detail}/y"):
            Template.parse(text)

    def test_too_long(self) -> None:
        sentence = "maildir cannot have a name of more than 255 octets"
        for text in (f"/{'x' * 256}/{{local}}", f"/{{local}}/{'x' * 256}"):
            error = self.assertRaises(ValueError, lambda t=text: Template.parse(t).path("a@b", US))
            self.assertEqual(sentence, str(error))


class PathTests(SynchronousTestCase):
    def path(self, address: str, template: str = "/m/{local}") -> str:
        return Template.parse(template).path(address, US)

    def fails(self, address: str, template: str = "/m/{local}") -> None:
        self.assertRaises(ValueError, self.path, address, template)

    def test_fields(self) -> None:
        address = "Ann+News@Example.ORG"
        for template, path in {
            "/m/{local}": "/m/ann",
            "/m/{address}": "/m/ann+news@example.org",
            "/m/{domain}/{local}": "/m/example.org/ann",
            "/m/{domain}/{local}/Maildir/": "/m/example.org/ann/Maildir",
            "/m/{local}/{detail}": "/m/ann/news",
            "/m/{local}/.{detail}": "/m/ann/.news",
            "/m/u-{local}@{domain}.d": "/m/u-ann@example.org.d",
            "/m/{{{local}}}": "/m/{ann}",
            "/m//{local}/./x": "/m/ann/x",
            "/m/{domain}": "/m/example.org",
        }.items():
            self.assertEqual(path, self.path(address, template), template)

    def test_detail(self) -> None:
        """
        It is what follows the first plus that has something before it.
        """
        for address, path in {
            "ann@b": "/m/ann/",
            "ann+@b": "/m/ann/",
            "ann+x+y@b": "/m/ann/x+y",
            "+x@b": "/m/+x/",
            "+@b": "/m/+/",
            '"ann+a b"@b': "/m/ann/a b",
            "ann+../..@b": "/m/ann/%2E.%2F..",
            "ann+new@b": "/m/ann/%6Eew",
        }.items():
            self.assertEqual(path.rstrip("/"), self.path(address, "/m/{local}/{detail}"), address)

    def test_without_detail(self) -> None:
        """
        What comes to nothing is left out, so that no path leads upwards.
        """
        for template in (".{detail}", "..{detail}"):
            self.assertEqual("/m/ann/x", self.path("ann@b", f"/m/{{local}}/{template}/x"))
            self.assertEqual("/m/ann", self.path("ann@b", f"/m/{{local}}/{template}"))
        self.assertEqual("/m/ann/...", self.path("ann@b", "/m/{local}/...{detail}"))
        self.assertEqual("/m/ann/box-", self.path("ann@b", "/m/{local}/box-{detail}"))
        self.assertEqual("/m/new-ann", self.path("ann@b", "/m/new-{local}"))
        self.assertEqual("/m/ann/%6Eew", self.path("ann@b", "/m/{local}/new{detail}"))
        self.assertEqual("/m/ann/new", self.path("ann@b", "/m/{local}/new"))

    def test_postmaster(self) -> None:
        """
        Who has no domain is ours.
        """
        self.assertEqual("/m/mx.example/postmaster", self.path("Postmaster", "/m/{domain}/{local}"))
        self.assertEqual("/m/postmaster", self.path("Postmaster", "/m/{address}"))

    def test_hostile(self) -> None:
        for local, name in HOSTILE.items():
            self.assertEqual(f"/m/{name}", self.path(f"{quoted(local)}@b"), local)
            path = self.path(f"{quoted(f'ann+{local}')}@b", "/m/{local}/{detail}")
            self.assertEqual(f"/m/ann/{name}", path, local)

    def test_domain(self) -> None:
        """
        Hooks may have rewritten it to anything.
        """
        for domain, name in {
            "[192.0.2.1]": "[192.0.2.1]",
            "[IPv6:2001:DB8::1]": "[ipv6:2001:db8::1]",
            "../x": "%2E.%2Fx",
            "..": "%2E.",
            "exämple.org": "exämple.org",
        }.items():
            self.assertEqual(f"/m/{name}", self.path(f"ann@{domain}", "/m/{domain}"), domain)

    def test_no_local_part(self) -> None:
        for address in ('""@b', "@b", ""):
            self.fails(address)
            self.fails(address, "/m/{domain}")

    def test_malformed(self) -> None:
        """
        As a hook may have rewritten it.
        """
        self.fails('a"b@c')
        self.assertEqual("/m/no address", self.path("no address"))

    def test_same_mailbox(self) -> None:
        """
        Capitals, quoting, and ways to compose a character.
        """
        for addresses in (
            ("ann@b", "Ann@b", "ANN@B", '"ann"@b', '"\\a\\n\\n"@b', "ann+x@b"),
            ("jos\u00e9@b", "JOSE\u0301@b", "jos\u00c9@b"),
            ("\u30ac@b", "\u30ab\u3099@b"),
        ):
            self.assertEqual(1, len({self.path(address) for address in addresses}), addresses)

    def test_other_mailboxes(self) -> None:
        """
        What the escapes stand for, and the escapes, are not the same.
        """
        names = ("a/b", "a%2Fb", "a%2fb", "a%252Fb", "a.b", "a\u2044b", "a\uff0fb")
        self.assertEqual(len(names) - 1, len({self.path(f"{name}@b") for name in names}))

    def test_length(self) -> None:
        """
        In octets, and behind the escapes.
        """
        self.assertEqual(f"/m/{'x' * NAME_LIMIT}", self.path(f"{'x' * NAME_LIMIT}@b"))
        self.assertEqual(f"/m/{'é' * 127}", self.path(f"{'é' * 127}@b"))
        for local in ("x" * 256, "é" * 128, "/" * 86, "İ" * 86):
            self.fails(f"{local}@b")
        self.fails(f"{'x' * 64}@{'d' * 191}", "/m/{address}")

    def test_utf8_in_any_locale(self) -> None:
        """
        The name on the disk is UTF-8, and the rest of the path as it was typed.
        """
        program = (
            "import os, sys\n"
            "from txsmtpd.handlers.template import Template\n"
            "path = Template.parse(sys.argv[1]).path('j\\u00f6rg@b', 'us')\n"
            "sys.stdout.buffer.write(os.fsencode(path))"
        )
        ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        for locale in ({"LC_ALL": "C.UTF-8"}, ascii_only):
            run = subprocess.run(
                [sys.executable, "-c", program, "/m\xfc/\xff{local}".encode("latin-1")],
                capture_output=True,
                check=True,
                cwd=Path(__file__).parent.parent,
                env={**os.environ, **locale},
            )
            self.assertEqual("/m\xfc/\xff".encode("latin-1") + "jörg".encode(), run.stdout)

    @settings(derandomize=True, deadline=None)
    @given(st.text(_CHARACTERS, max_size=70), st.text(_CHARACTERS, max_size=70))
    def test_any(self, local: str, domain: str) -> None:
        """
        Each value is one file name below the base, whatever it is.
        """
        for template, depth in {
            "/m/{local}": 1,
            "/m/{address}": 1,
            "/m/{domain}/{local}": 2,
            "/m/{local}/.{detail}": 2,
            "/m/{local}/{detail}/Maildir": 3,
        }.items():
            try:
                path = self.path(f"{quoted(local)}@{domain}", template)
            except ValueError:
                continue
            octets = os.fsencode(path)
            self.assertEqual(path, os.path.normpath(path))
            root, base, *names = octets.split(b"/")
            self.assertEqual((b"", b"m"), (root, base))
            self.assertIn(len(names), (depth, depth - ("detail" in template)))
            for name in names:
                name.decode()
                self.assertTrue(0 < len(name) <= NAME_LIMIT)
                self.assertNotIn(name, (b".", b"..", b"cur", b"new", b"tmp"))
                self.assertFalse({*name} & {*range(32), 127})

    @settings(derandomize=True, deadline=None)
    @given(st.text(_CHARACTERS, min_size=1, max_size=20))
    def test_escapes(self, local: str) -> None:
        """
        What the name stands for can be found out again, so no two share one by chance.
        """
        path = self.path(f"{quoted(local)}@b", "/m/{address}")
        found = unquote_to_bytes(os.fsencode(path).rpartition(b"/")[2])
        folded = normalize("NFC", normalize("NFC", f"{local}@b").lower())
        self.assertEqual(folded.encode("utf-8", "surrogatepass"), found)
