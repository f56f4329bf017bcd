from twisted.application.service import ServiceMaker

smtpd = ServiceMaker("txsmtpd", "txsmtpd.tap", "An SMTP server that receives mail.", "smtpd")
