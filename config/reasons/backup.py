"""Words for backup, restore and upgrade: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "backup.not_one": ("The file is no backup of tiergate.", "该文件不是 tiergate 的备份。"),
    "backup.unknown_suite": (
        "The backup is encrypted in a way that this version does not know ({suite}).",
        "备份所用的加密方式（{suite}）本版本不支持。",
    ),
    "backup.passphrase": (
        "The passphrase is wrong, or the beginning of the file is damaged.",
        "口令不正确，或文件开头已损坏。",
    ),
    "backup.damaged": (
        "The backup is damaged or cut off; nothing of it is used. Take an older one.",
        "备份已损坏或不完整，未使用其中任何内容。请改用更早的备份。",
    ),
    "backup.malformed": (
        "The backup does not agree with itself ({problem}); nothing of it is used.",
        "备份内容前后不一致（{problem}），未使用其中任何内容。",
    ),
    "backup.file_exists": ("{path} exists already and is left alone.", "{path} 已存在，未作改动。"),
    "backup.not_written": ("The backup could not be written ({problem}).", "备份无法写入（{problem}）。"),
    "backup.passphrase_short": (
        "The passphrase needs at least {length} characters.",
        "口令至少需要 {length} 个字符。",
    ),
    "backup.passphrase_missing": (
        "A passphrase is needed: --passphrase-file FILE, the setting backup.passphrase, or type it.",
        "需要口令：--passphrase-file FILE、配置项 backup.passphrase，或直接输入。",
    ),
    "backup.node_there": (
        "There is a node here already ({what}); --replace puts it aside.",
        "此处已有节点（{what}）；使用 --replace 可将其移到一旁。",
    ),
    "backup.catalog_there": (
        "The catalog is not empty; restore into an empty one.",
        "目录数据库不为空；请恢复到空的数据库。",
    ),
}
