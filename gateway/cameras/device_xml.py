"""XML as devices send it: no document types, in whatever encoding they are written (FAULTS S10).

A document type is where entities come from, and no ONVIF answer has one (SOAP 1.2 part 1 §5 forbids it). Its bytes read
otherwise in UTF-16, UTF-32 or UTF-7, so the parser is asked, not the bytes. Until it answers, libxml2's own limits hold
(`huge_tree=False`: an entity may make a document five times as large beyond the first megabyte, no more), nothing is
loaded and no entity of an element's text is expanded.

Belongs here: what is refused of a document before somebody reads it. Does not belong here: what answers mean.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

MOST_DEPTH = 64  #: elements in elements; answers of recorders with 64 channels have about 12


def parse(content: bytes) -> Any:
    """The root element. Raises ValueError, also for what is no XML."""
    return _judged(content, recover=False)


def refuse_hostile(content: bytes) -> None:
    """For bytes that a forgiving parser without limits reads next: what it would see of them has to be harmless.

    Forgiving as that one is, because a strict parser ends at a mistake and does not see what comes behind it; what even
    so gives no element is refused, being of no use to the other. Raises ValueError.
    """
    _judged(content, recover=True)


def _judged(content: bytes, *, recover: bool) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=recover)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as exc:
        raise ValueError(f"an answer that is no XML: {str(exc)[:80]}") from exc
    if root is None:
        raise ValueError("an answer that is no XML")
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("an answer with a document type")
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MOST_DEPTH:
            raise ValueError(f"an answer of more than {MOST_DEPTH} levels")
    return root
