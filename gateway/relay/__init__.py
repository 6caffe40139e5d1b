"""gateway.relay: both ends of every link over HTTP and Unix sockets: node-to-node rim, pulls, fan-out, purge, directory polls.

Belongs here: sockets, loops and processes around `tiering`. Does not belong here: rules (`tiering`), people's routes
(`gateway.web.routers`).
"""
