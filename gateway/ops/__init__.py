"""gateway.ops: what keeps a node running. Doctor, metrics, logging, scheduler, clock evidence, unit files."""
