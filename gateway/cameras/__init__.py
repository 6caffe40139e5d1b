"""gateway.cameras: getting to know devices. Addresses, ONVIF, discovery, onboarding, PTZ.

Belongs here: conversations with a device about itself. Does not belong here: its media (`gateway.ingest`).
"""
