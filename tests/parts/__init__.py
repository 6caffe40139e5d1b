"""Real parts: cameras, object stores, an ONVIF device, a bad network, a browser. Each binds loopback only.

Belongs here: what starts, steers and ends somebody else's program, or makes its input. Used by tests, benchmarks and
scripts/demo. Does not belong here: anything that imitates tiergate or is imported by it.
"""
