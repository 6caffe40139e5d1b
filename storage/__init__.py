"""storage: footage and its bookkeeping. Media formats, spool, object stores, catalog, retention, audit.

Belongs here: what turns access units into files, files into objects and rows, and decides how long they stay.
Does not belong here: who may see them (`tiering.access`), where they come from (`gateway.ingest`), HTTP.
"""
