"""gateway: the rim. Cameras in, people and nodes out; processes, HTTP, page, command line.

Belongs here: everything that touches the world. Rules it applies live in `storage` and `tiering`.
"""

__version__ = "0.1.0"
