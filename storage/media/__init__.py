"""storage.media: pure media formats. Access units, codec parameters, fragmented MP4, playback index.

Nothing here touches a file, a socket or a clock.
"""
