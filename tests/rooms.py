"""Which rooms of tests bear company: the list that `tests.passes` goes by. (pure)

A room is a file of tests or a folder of them. One is listed in `BESIDE` when, and only when, of all its tests it holds:

- they judge what was computed, stored or answered, and never how soon: no assertion is about a duration, and what is
  waited for has a bound many times what it takes on one busy core;
- they start no node, camera, RTSP or ONVIF server, or browser; children of one test alone, as a decoder or a program
  to be killed, are no matter. Object stores and PostgreSQL are shared by the tests of one process: with two workers
  there are two of each, on ports of their own;
- they change nothing that two processes share: no fixed port, no file outside of their temporary folder;
- they do not divide their work over the cores themselves.

Whatever is not listed runs alone, one test after another, with nothing beside it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

#: From the checkout's folder, sorted.
BESIDE = (
    "tests/config",
    "tests/gateway/access/test_digest.py",
    "tests/gateway/access/test_passwords.py",
    "tests/gateway/access/test_tokens.py",
    "tests/gateway/cameras/test_factory_accounts.py",
    "tests/gateway/cameras/test_replay.py",
    "tests/gateway/evidence",
    "tests/gateway/health",
    "tests/gateway/ingest/test_arrival.py",
    "tests/gateway/ingest/test_backoff.py",
    "tests/gateway/ingest/test_crashes.py",
    "tests/gateway/ingest/test_early.py",
    "tests/gateway/ingest/test_ledger.py",
    "tests/gateway/ingest/test_lipsync.py",
    "tests/gateway/ingest/test_logins.py",
    "tests/gateway/ingest/test_recording.py",
    "tests/gateway/ingest/test_statistics.py",
    "tests/gateway/ingest/test_timekeeping.py",
    "tests/gateway/ingest/test_timestamps.py",
    "tests/gateway/ingest/test_zones.py",
    "tests/gateway/live/test_candidates.py",
    "tests/gateway/live/test_choice.py",
    "tests/gateway/live/test_frames.py",
    "tests/gateway/live/test_rtp.py",
    "tests/gateway/page/test_live_buffer.py",
    "tests/gateway/page/test_modules.py",
    "tests/gateway/page/test_tile.py",
    "tests/gateway/playback/test_damaged.py",
    "tests/gateway/playback/test_playback_routes.py",
    "tests/gateway/relay/test_routes.py",
    "tests/gateway/relay/test_tier_matrix.py",
    "tests/gateway/rtsp/test_message.py",
    "tests/gateway/test_alarms.py",
    "tests/gateway/test_backup_work.py",
    "tests/gateway/test_doctor.py",
    "tests/gateway/test_lookout.py",
    "tests/gateway/test_rotation.py",
    "tests/gateway/test_store_move.py",
    "tests/gateway/test_store_work.py",
    "tests/gateway/test_token_rotation.py",
    "tests/gateway/web/test_alarms_api.py",
    "tests/gateway/web/test_api.py",
    "tests/gateway/web/test_approvals_api.py",
    "tests/gateway/web/test_areas_api.py",
    "tests/gateway/web/test_attestations_api.py",
    "tests/gateway/web/test_audit_export.py",
    "tests/gateway/web/test_break_glass.py",
    "tests/gateway/web/test_changed_password.py",
    "tests/gateway/web/test_matrix.py",
    "tests/gateway/web/test_mutants.py",
    "tests/gateway/web/test_openapi.py",
    "tests/gateway/web/test_own_rights.py",
    "tests/gateway/web/test_policy_file.py",
    "tests/gateway/web/test_reports_api.py",
    "tests/gateway/web/test_retention_api.py",
    "tests/gateway/web/test_sessions_api.py",
    "tests/gateway/web/test_shifts_api.py",
    "tests/gateway/web/test_sign_in_work.py",
    "tests/gateway/web/test_stream_passwords_api.py",
    "tests/gateway/web/test_unaudited.py",
    "tests/gateway/web/test_use_api.py",
    "tests/pictures",
    "tests/storage/audit",
    "tests/storage/catalog",
    "tests/storage/media",
    "tests/storage/objects",
    "tests/storage/test_400_days.py",
    "tests/storage/test_approvals.py",
    "tests/storage/test_aside.py",
    "tests/storage/test_attested.py",
    "tests/storage/test_backup.py",
    "tests/storage/test_check.py",
    "tests/storage/test_evidence.py",
    "tests/storage/test_evidence_listing.py",
    "tests/storage/test_evidence_locks.py",
    "tests/storage/test_evidence_rules.py",
    "tests/storage/test_forecast.py",
    "tests/storage/test_gaps.py",
    "tests/storage/test_journal.py",
    "tests/storage/test_keys.py",
    "tests/storage/test_lifecycle.py",
    "tests/storage/test_patience.py",
    "tests/storage/test_plan_view.py",
    "tests/storage/test_reach.py",
    "tests/storage/test_restamp.py",
    "tests/storage/test_retention.py",
    "tests/storage/test_salvage.py",
    "tests/storage/test_sampled.py",
    "tests/storage/test_scratch.py",
    "tests/storage/test_scrub.py",
    "tests/storage/test_segmenter.py",
    "tests/storage/test_spool.py",
    "tests/storage/test_spools.py",
    "tests/storage/test_sweeper.py",
    "tests/storage/test_uploader.py",
    "tests/storage/test_use.py",
    "tests/storage/test_volume.py",
    "tests/storage/test_worlds.py",
    "tests/test_docs.py",
    "tests/test_faults.py",
    "tests/test_layout.py",
    "tests/test_sbom.py",
    "tests/tiering",
    "tests/torture/test_parsers.py",
    "tests/torture/test_recording_power.py",
    "tests/torture/test_recording_stores.py",
)


def bears_company(path: str) -> bool:
    """Whether the tests of that file, named from the checkout's folder, run beside others."""
    return any(PurePosixPath(path).is_relative_to(room) for room in BESIDE)
