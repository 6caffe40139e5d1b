"""gateway.relay: both ends of every link: node-to-node HTTP, pulls, fan-out, cache and purge, directory polls.

Belongs here: sockets, loops and processes around `tiering`. Does not belong here: rules (`tiering`), people's routes
(`gateway.web.routers`).
"""
