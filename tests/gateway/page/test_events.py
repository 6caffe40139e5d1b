"""What the page asks again when the stream of events has been away; without a browser."""

from __future__ import annotations

from tests.gateway.page.test_modules import needs_node, run_js

ASKED = """
    globalThis.location = { protocol: "http:", host: "x", href: "http://x/" };
    globalThis.localStorage = { getItem: () => null, setItem() {} };
    globalThis.document = { documentElement: {}, addEventListener() {} };
    let source, asked = [];
    globalThis.EventSource = class { constructor() { source = this; } addEventListener() {} close() {} };
    globalThis.fetch = async (url) => {
      asked.push(new URL(url, "http://x").pathname.replace("/api/v1", ""));
      return Response.json(url.endsWith("/session") ? { kind: "user", roles: ["duty"] } : { items: [] });
    };
    const { listen } = await import("./events.js");
    const { store } = await import("./state.js");
    store.set({ session: { kind: "user", roles: ["duty"] } });
    const turn = () => new Promise((done) => setTimeout(done, 20));
    listen();
"""


@needs_node
def test_everything_is_asked_again_when_events_come_again() -> None:
    first, again, epochs = run_js(
        ASKED
        + """
        source.onopen();
        await turn();
        const first = asked, epoch = store.get().timelineEpoch;
        asked = [];
        source.onopen();
        await turn();
        console.log(JSON.stringify([first, asked, store.get().timelineEpoch - epoch])); process.exit();
        """
    )
    assert set(first) == {"/session"}, "the page has asked when it was opened"
    assert {"/cameras", "/leases", "/pulls", "/approvals", "/alarms", "/regions", "/node"} <= set(again)
    assert epochs == 1
