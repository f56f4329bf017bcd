from typing import Any

from twisted.application.service import ServiceMaker
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

smtpd = ServiceMaker("txsmtpd", "txsmtpd.tap", "An SMTP server that receives mail.", "smtpd")


def _of_users(name: str) -> Any:
    def get(self: object) -> Any:
        # When it is wanted, as ServiceMaker does it: every run of twistd comes by here.
        from txsmtpd.users import UsersFileFactory

        return getattr(UsersFileFactory(), name)

    return property(get)


@implementer(ICheckerFactory, IPlugin)
class _Users:
    authType = "users"
    authHelp: Any = _of_users("authHelp")
    argStringFormat: Any = _of_users("argStringFormat")
    credentialInterfaces: Any = _of_users("credentialInterfaces")
    generateChecker: Any = _of_users("generateChecker")


users = _Users()
