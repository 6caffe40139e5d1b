"""config: the innermost ring. Words, ids, units, reasons, settings, secrets, clock and crypto ports.

Belongs here: what every other package needs and what needs none of them.
Does not belong here: anything that knows of cameras, segments, leases or HTTP.
Imports run ``config <- storage <- tiering <- gateway`` (tests/test_layout.py keeps it so).
"""
