"""
What lets ``--auth`` find checkers of one's own.

This file goes into a folder ``twisted/plugins`` on Python's path, under any name.
"""

from __future__ import annotations

from docs.code.checkers import ByCertificateFactory, ByTokenFactory

by_certificate = ByCertificateFactory()
by_token = ByTokenFactory()
