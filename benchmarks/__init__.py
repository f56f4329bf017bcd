"""
How fast txsmtpd is, beside aiosmtpd and beside a floor, in one run: ``python -m benchmarks``.

What is counted is the CPU time of the server for one message, because it is what a machine has to
give and what noise disturbs least.  Figures of different runs are not comparable, ratios within
one run are: so each round measures every server once, a new process each time, in an order that
rotates, and the ratios of the rounds have a median.

A new workload is a class in `benchmarks.workloads`, a new server a module in `benchmarks.servers`.
"""


class CheckFailed(Exception):
    """
    A server said or counted something wrong, or nothing at all: there is no figure to report.
    """
