"""gateway.web: the public API and the page.

Belongs here: HTTP, its policy, its errors. Does not belong here: decisions (`tiering.access`), statements
(`storage.catalog`), media (`gateway.live`, `gateway.playback`).
"""
