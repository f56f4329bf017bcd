"""
``python -m txsmtpd``: what ``twistd -n smtpd`` does, from wherever txsmtpd can be imported.

twistd itself finds its plugins only where they are installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.application.service import ServiceMaker

# ServerOptions is not in __all__, but is the one that runApp of this platform wants.
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]

from .tap import Options


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run in the foreground, with the log on stdout, until a signal ends it.

    :raise SystemExit: after one sentence, if it cannot start.
    """
    options = Options()
    options.program = "txsmtpd"
    options.parseOptions(arguments)
    config = ServerOptions()
    config.update(nodaemon=True, no_save=True, pidfile=None)
    # As if these options had come after "twistd smtpd", and smtpd were the only plugin.
    config.subCommand = "smtpd"
    config.subOptions = options
    config.loadedPlugins = {"smtpd": ServiceMaker("txsmtpd", "txsmtpd.tap", "", "smtpd")}
    runApp(config)
    if options["service"].trouble is not None:
        # Which only the running reactor has shown, and it was told already.
        raise SystemExit(1)


if __name__ == "__main__":
    main()
