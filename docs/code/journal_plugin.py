"""
What lets ``--handler`` find a handler of one's own by a short name.

This file goes into a folder ``twisted/plugins`` on Python's path, under any name.
"""

from __future__ import annotations

from docs.code.journal import JournalFactory

journal = JournalFactory()
