"""Builds a web process: the API, the page, live fan-out, playback."""

from __future__ import annotations

from config.clock import make_clock
from config.settings import Settings
from gateway.access.keys import load_keys
from gateway.live.service import make_live
from gateway.playback.service import make_playback
from gateway.relay.control import RelayControl
from gateway.relay.lower import RelayFootage
from gateway.rtsp.server import RtspServer
from gateway.web.compose import make_services
from gateway.web.services import Services
from storage.catalog.engine import Catalog


def build_web(settings: Settings, process: str) -> Services:
    """Raises access.keys_missing. Nothing is started; the application's life starts it."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog = Catalog(settings.catalog_url)
    services = make_services(settings, clock, catalog, keys, process)
    live = make_live(settings, catalog)
    relay = RelayControl(settings.paths.run_dir / "relay.sock")
    services.parts["live"] = live
    services.parts["relay"] = relay
    services.parts["footage"] = make_playback(settings, clock, catalog, keys.node_id, live.hub, RelayFootage(relay))
    services.background.append(live.running)
    if settings.rtsp.listeners:
        services.parts["rtsp"] = RtspServer(services, live)  # the process gives it its sockets
    return services
