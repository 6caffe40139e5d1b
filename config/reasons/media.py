"""Words for reasons of the room "media": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
