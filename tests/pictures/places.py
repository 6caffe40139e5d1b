"""Every place of the code that puts bytes outside its memory, and what those bytes are.

Keys: what it is. Of pictures it is the name of a row in docs/operations.md ("What shows pictures, and when it ends"),
which says when they end and which test shows it; of everything else a sentence why no picture is among it. The numbers
say how many such calls stand in a function.
"""

from __future__ import annotations

PICTURES: dict[str, dict[str, int]] = {
    "recorded footage": {
        "storage/spool.py::PartFile.__init__": 1,
        "storage/spool.py::PartFile.seal": 1,
        "storage/spool.py::PartFile._fail_sync": 1,
        "storage/salvage.py::salvage_part": 2,
        "storage/salvage.py::adopt": 1,
        "storage/salvage.py::_copy_whole": 2,
        "storage/uploader.py::Uploader._put": 1,
        "storage/objects/folder.py::FolderStore._enter": 1,
        "storage/objects/folder.py::FolderStore._same": 1,
        "storage/damage.py::Mender._put": 1,
    },
    "second copies of held footage": {
        "storage/evidence.py::EvidenceKeeper._make": 1,
        "storage/objects/evidence.py::FolderEvidence.copy_from": 1,
    },
    "damaged objects that a whole copy replaced": {
        "storage/damage.py::Mender._put_aside": 2,
    },
    "parts that salvage put aside": {
        "storage/spool.py::Spool.quarantine": 1,
    },
    "half copies": {
        "storage/objects/folder.py::FolderStore._temporary": 1,
    },
    "footage between two stores": {
        "storage/scratch.py::nameless": 1,
        "storage/damage.py::_fetch_version": 1,
        "storage/damage.py::Mender._whole_copy": 1,
        "storage/moving.py::Mover._bring": 2,
        "storage/moving.py::Mover._bring_second": 2,
        "storage/moving.py::Mover._carry": 1,
        "storage/objects/s3_evidence.py::S3Evidence._copy_through_here": 1,
        "storage/rebuild.py::_fetched": 1,
    },
    "recordings of a lower tier": {
        "tiering/cache.py::Cache.write_block": 1,
        "tiering/cache.py::SealedStore.put_bytes": 1,
    },
    "what a person saves": {
        "gateway/cli/files.py::new_file": 1,
    },
}

OTHER: dict[str, dict[str, int]] = {
    "rows about footage, journals and signed heads of the audit log: times, digests, parameter sets": {
        "storage/journal.py::write": 1,
        "storage/audit/signed.py::Signer.write": 1,
        "storage/catalog/migrate.py::_copy": 1,
        "gateway/access/journal.py::_add": 1,
    },
    "backups: settings, keys and catalog; footage is not in them": {
        "storage/backup.py::make": 3,
        "gateway/ops/backup_work.py::restore_node": 2,
        "gateway/ops/backup_work.py::_lay_out": 1,
    },
    "small objects and files of zeros or random bytes by which a store or a disk is tried": {
        "storage/canary.py::try_lock": 1,
        "storage/objects/evidence.py::FolderEvidence.put_locked": 1,
        "storage/objects/s3_evidence.py::S3Evidence.put_locked": 1,
        "storage/spool.py::Spool.probe": 1,
        "storage/volume.py::_write_identity": 3,
    },
    "keys, certificates, sessions, nonces and settings": {
        "tiering/cache.py::LeaseKeys.make": 1,
        "tiering/cache.py::LeaseKeys.destroy": 1,
        "tiering/nonces.py::NonceJournal.take": 1,
        "tiering/nonces.py::NonceJournal._rewrite": 1,
        "storage/volume.py::write_synced": 2,
        "storage/volume.py::replace_synced": 2,
        "gateway/access/keys.py::_make": 1,
        "gateway/access/keys.py::take_next": 1,
        "gateway/cli/client.py::keep_session": 1,
        "gateway/cli/client.py::require_place_for_sessions": 1,
        "gateway/cli/init.py::_make": 2,
        "gateway/ops/certificates.py::make_private_ca": 3,
        "gateway/ops/store_move.py::_write_settings": 3,
        "gateway/relay/pairs.py::keep": 2,
    },
    "locks, signs of life and process numbers": {
        "storage/catalog/migrate.py::_alone": 1,
        "gateway/ingest/logins.py::Logins._shared": 1,
        "gateway/ops/locks.py::alone": 1,
        "gateway/ops/locks.py::together": 1,
        "gateway/ops/locks.py::is_held": 1,
        "gateway/ops/signs.py::give_signs": 1,
        "gateway/processes/child.py::Child.ready": 1,
        "gateway/processes/child.py::Child.waiting": 1,
        "gateway/processes/child.py::Child.succeed": 1,
        "gateway/processes/recorder.py::lock_shard": 1,
        "gateway/processes/supervisor.py::Supervisor.run": 1,
        "gateway/processes/supervisor.py::_node_lock": 1,
        "config/clock.py::ShiftedClock.__init__": 1,
        "config/clock.py::write_shift": 1,
    },
    "names of cameras, times of refused logins, stack traces without values": {
        "gateway/ingest/crashes.py::CrashBook.watch": 1,
        "gateway/ingest/crashes.py::CrashBook._write": 2,
        "gateway/ingest/logins.py::Logins._write": 2,
    },
    "the standard output given away to nothing": {
        "gateway/cli/app.py::run": 1,
    },
    "a library's own file, mapped to be read": {
        "gateway/ingest/libav_confine.py::_slot_of": 1,
    },
    "pages of the reference": {
        "gateway/ops/reference.py::write": 1,
    },
}

#: Columns of the catalog that hold bytes, and what they are.
COLUMNS: dict[str, str] = {
    "run.init": "parameter sets of a stream: its size and coding, no picture",
    "segment.fragments": "offsets, durations and key flags",
    "segment.sha256": "digest",
    "audit.digest": "digest",
    "audit.previous": "digest",
    "break_glass.seal_hash": "digest",
    "credential.sealed": "a password, sealed",
    "link.public_key": "key",
    "link.tls_sha256": "digest",
    "link.tls_other_sha256": "digest",
    "link_invite.code_hash": "digest",
    "media_session.id_hash": "digest",
    "session.id_hash": "digest",
    "shift.session_hash": "digest",
}

#: What a page can keep on the disk of whoever looks at it, and the files that may: a language, the cameras of a wall;
#: the stream that plays, and a file that a person saves.
BROWSER: dict[str, set[str]] = {
    "localStorage": {"i18n.js", "state.js"},
    "sessionStorage": set(),
    "indexedDB": set(),
    "caches": set(),
    "serviceWorker": set(),
    "getDirectory": set(),
    "showSaveFilePicker": set(),
    "createObjectURL": {"save.js", "player/mse.js"},
}
