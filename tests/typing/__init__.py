"""
Code that only mypy runs: what users write must type-check, and what is wrong must not.

A line that must not is marked with the error that it must give, and mypy complains about a mark
that it does not need.
"""
