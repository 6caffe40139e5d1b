"""tiering: who may see what, and how nodes of four tiers share it. Decisions, mechanisms, leases, lines, wire.

Belongs here: rules and the node-to-node protocol without HTTP.
Does not belong here: sockets, processes, pages (`gateway`).
"""
