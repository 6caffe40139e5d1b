"""ingest: cameras in, access units out, footage on the spool. The recorder's own package.

Belongs here: sources, their supervision, the pipeline to the spool. Does not belong here: S3, decoding, permissions.
"""
