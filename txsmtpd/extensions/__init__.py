"""
ESMTP service extensions, one to a file.
"""
