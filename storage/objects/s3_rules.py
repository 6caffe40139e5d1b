"""Reads and sets the lifecycle rules of a bucket.

Belongs here: translation between `storage.lifecycle` and the server's rules. Does not belong here: which rules there
should be.
"""

from __future__ import annotations

from collections.abc import Iterable

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, Rule

from config.errors import TiergateError
from storage.lifecycle import OURS, BucketRule
from storage.objects.s3 import S3Store


def read_rules(store: S3Store) -> list[BucketRule] | None:
    """None: the store knows no rules. Raises media.store_unavailable, media.store_refused."""
    found = store.lifecycle()
    return None if found is None else [_known(rule) for rule in found]


def set_rules(store: S3Store, planned: Iterable[BucketRule]) -> None:
    """The planned rules beside those of other hands. MinIO knows no rule that ends uploads, and takes none of a list
    that has one: then it is set without; what was not taken, the next reading shows."""
    wanted = list(planned)
    try:
        _set(store, wanted)
    except TiergateError:
        taken = [rule for rule in wanted if rule.expire_days is not None]
        if len(taken) == len(wanted):
            raise
        _set(store, taken)


def _set(store: S3Store, planned: Iterable[BucketRule]) -> None:
    others = [rule for rule in store.lifecycle() or [] if not (rule.rule_id or "").startswith(OURS)]
    store.set_lifecycle([*others, *(_made(rule) for rule in planned)])


def _known(rule: Rule) -> BucketRule:
    parts = (rule.transition, rule.noncurrent_version_expiration, rule.noncurrent_version_transition)
    abort, ends = rule.abort_incomplete_multipart_upload, rule.expiration
    on_a_day = ends is not None and ends.date is not None
    return BucketRule(
        id=rule.rule_id or "",
        prefix=(rule.rule_filter.prefix if rule.rule_filter is not None else None) or "",
        abort_days=abort.days_after_initiation if abort is not None else None,
        expire_days=0 if on_a_day else ends.days if ends is not None else None,
        enabled=rule.status == ENABLED,
        other=on_a_day or any(part is not None for part in parts),
    )


def _made(rule: BucketRule) -> Rule:
    return Rule(
        status=ENABLED,
        rule_filter=Filter(prefix=rule.prefix),
        rule_id=rule.id,
        abort_incomplete_multipart_upload=(
            None if rule.abort_days is None else AbortIncompleteMultipartUpload(days_after_initiation=rule.abort_days)
        ),
        expiration=None if rule.expire_days is None else Expiration(days=rule.expire_days),
    )
