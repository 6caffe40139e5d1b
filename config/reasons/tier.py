"""Words for reasons of the room "tier": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {}
