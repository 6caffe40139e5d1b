"""Words for reasons of the room "web": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
