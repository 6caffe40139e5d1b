"""gateway.compose: building a process from its settings, one module per process.

Everything gets what it needs by constructor here; no module reads settings or clocks from a global. A module each,
because a recorder must not pay for importing the web (1 s of start-up and 60 MB).
"""
