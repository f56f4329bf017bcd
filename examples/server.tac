"""
A server as a Twisted application: a file that ``twistd`` runs, without the options of ``smtpd``.

    twistd -ny examples/server.tac

from the directory above, so that ``examples.handler`` can be imported.  Without ``-n`` it becomes
a daemon.  SMTP_ENDPOINT, a variable of the environment, says where to listen.

What else the process does, such as a web server or a timer, is another service of the same
application.  When the process is told to end, SMTPService gives messages that are under way 30
seconds.
"""

import os

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from examples.handler import Printer
from txsmtpd import SMTPFactory
from txsmtpd.service import Listener, SMTPService

where = os.environ.get("SMTP_ENDPOINT", "tcp:2525:interface=127.0.0.1")
handler = Printer()
factory = SMTPFactory(handler, hostname="mx.example.org", max_recipients=50)

application = Application("mail")
# A handler that must prepare itself, as Maildir does, is told to by the service.
service = SMTPService(
    reactor, [Listener(serverFromString(reactor, where), factory, where)], [handler], "server.tac"
)
service.setServiceParent(application)
