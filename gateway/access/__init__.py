"""gateway.access: users, sessions, tokens, keys, and the register of every look.

Belongs here: who is asking, what they were given, and the record that they looked. Does not belong here: the decision
(`tiering.access`), HTTP (`gateway.web`).
"""
