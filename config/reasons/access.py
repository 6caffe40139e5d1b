"""Words for reasons of the room "access": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
