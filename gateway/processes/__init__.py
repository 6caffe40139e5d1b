"""processes: the supervisor and its children. One module per process, each with a `main` run by ``python -m``.

Belongs here: life and death, wiring through `gateway.compose`. Does not belong here: what the parts do.
"""
