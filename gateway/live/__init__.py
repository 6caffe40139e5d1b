"""gateway.live: pictures of now. Live socket between processes, hub, fan-out to browsers, WHEP."""
