"""Words for reasons of media, spool and object stores: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "media.object_bad_key": (
        "{key} is not the key of an object.",
        "{key} 不是有效的对象键。",
    ),
    "media.object_missing": (
        "The store has no object {key}.",
        "存储中没有对象 {key}。",
    ),
    "media.object_exists": (
        "The store already has another object under {key}.",
        "存储中 {key} 处已有内容不同的对象。",
    ),
    "media.object_corrupt": (
        "Object {key} does not have the bytes that were recorded.",
        "对象 {key} 的内容与录制时不一致。",
    ),
    "media.object_unreadable": (
        "The store gives others, but not object {key}: {problem}.",
        "存储可提供其他对象，但无法读出对象 {key}：{problem}。",
    ),
    "media.store_unavailable": (
        "The store does not answer as it should: {problem}.",
        "存储未正常响应：{problem}。",
    ),
    "media.store_refused": (
        "The store refuses us: {problem}. Check endpoint, keys and buckets.",
        "存储拒绝访问：{problem}。请检查地址、密钥和存储桶。",
    ),
    "media.volume_missing": (
        "The {volume} volume has no identity file: it is not mounted, or empty.",
        "{volume} 卷没有标识文件：可能未挂载或为空卷。",
    ),
    "media.volume_swapped": (
        "The {volume} volume is not the one this node used before.",
        "{volume} 卷不是本节点此前使用的卷。",
    ),
    "media.part_failed": (
        "The disk did not take a piece of footage: {problem}.",
        "磁盘未能写入一段录像：{problem}。",
    ),
    "media.spool_corrupt": (
        "The spool copy of segment {segment} is missing or damaged.",
        "片段 {segment} 的暂存副本缺失或已损坏。",
    ),
    "media.segment_damaged": (
        "The stored bytes of this footage are not those that were recorded; they are kept, and may play in part.",
        "该段录像的存储内容与录制时不一致；已保留，可能只能部分播放。",
    ),
    "media.segment_lost": (
        "The store has lost this footage.",
        "存储丢失了该段录像。",
    ),
    "media.not_a_segment": (
        "The object is not a segment of tiergate.",
        "该对象不是 tiergate 的录像片段。",
    ),
    "media.catalog_driver": (
        "The catalog is PostgreSQL, and its driver is not installed; install tiergate[postgresql].",
        "目录数据库为 PostgreSQL，但未安装其驱动；请安装 tiergate[postgresql]。",
    ),
    "media.catalog_newer": (
        "The catalog was made by a newer version of tiergate ({revision}); install that version.",
        "目录库由更新版本的 tiergate 创建（{revision}）；请安装该版本。",
    ),
}
