"""
The log as JSON, one object a line, on standard output.

Use it with ``twistd -n --logger examples.json_log.observer smtpd`` where it can be imported.
"""

from __future__ import annotations

import sys

from twisted.logger import ILogObserver, jsonFileLogObserver


def observer() -> ILogObserver:
    return jsonFileLogObserver(sys.stdout, "")
