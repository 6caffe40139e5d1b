"""Words for reasons of the room "retention": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
