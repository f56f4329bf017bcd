from twisted.application.service import ServiceMaker

smtpd = ServiceMaker(
    "txsmtpd", "txsmtpd.tap", "An SMTP and LMTP server that receives mail.", "smtpd"
)
