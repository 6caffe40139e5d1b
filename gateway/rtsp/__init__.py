"""Live streams for other systems' software over RTSP 1.0 (RFC 2326), TCP interleaved, as the camera sent them."""
