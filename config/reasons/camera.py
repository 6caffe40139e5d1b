"""Words for reasons of the room "camera": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
