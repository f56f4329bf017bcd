"""
The server as a user runs it, in a process of its own, and mail from clients that others wrote.
"""
