"""Words for reasons of the room "access": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    # --- decisions
    "access.allowed": ("{function} is allowed.", "允许{function}。"),
    "access.not_found": (
        "There is no such thing in your catalogue.",
        "您的目录中没有这一项。",
    ),
    "access.no_function": (
        "You may see this camera, but your grants do not include {function}.",
        "您可以看到该摄像机，但授权不包括 {function}。",
    ),
    "access.denied": (
        "{function} on this camera is explicitly denied to you.",
        "已明确禁止您对该摄像机使用 {function}。",
    ),
    "access.needs_other": (
        "{function} needs {needed} on the same camera, and that is not granted.",
        "使用 {function} 须同时具有该摄像机的 {needed} 授权，而您没有。",
    ),
    "access.outside_week": (
        "{function} is granted, but not at this time of the week.",
        "{function} 已授权，但不在当前时段内。",
    ),
    "access.network": (
        "The grant is for other networks than the one you come from.",
        "授权不适用于您所在的网络。",
    ),
    "access.purpose": (
        "The grant does not cover the purpose {purpose}.",
        "授权不包括用途 {purpose}。",
    ),
    "access.purpose_unknown": (
        "There is no purpose {purpose}; there are {known}.",
        "没有用途 {purpose}；可用的有 {known}。",
    ),
    "access.request_record": (
        "For a person concerned give the number of the request (case_no) and who asks for what (at least {minimum} "
        "characters).",
        "当事人查阅须填写请求编号（case_no）以及何人查阅何内容（至少 {minimum} 个字）。",
    ),
    "access.sub_only": (
        "The grant is for the small stream (sub) only.",
        "授权仅限子码流（sub）。",
    ),
    "access.footage_outside": (
        "The grant covers footage from {from} to {to} only.",
        "授权仅包括 {from} 至 {to} 的录像。",
    ),
    "access.too_many_open": (
        "The grant allows {most} at once, and so many pictures are open; close one first.",
        "授权最多同时打开 {most} 路画面，当前已达上限，请先关闭一路。",
    ),
    "access.look_back": (
        "The grant reaches back {minutes} minutes only.",
        "授权仅可回看最近 {minutes} 分钟。",
    ),
    "access.original": (
        "Pictures without your name in them leave as evidence only: for people whose role or grant includes hold here.",
        "不带您姓名水印的原始画面仅作为证据导出：须由角色或授权在此包括 hold 的人员办理。",
    ),
    "access.lease_needed": (
        "This camera belongs to a lower node; watching it needs a running pull (lease).",
        "该摄像机属于下级节点，观看须先发起调阅（租约）。",
    ),
    "access.lease_not_yours": (
        "Lease {lease} is running, but it does not name you or your unit.",
        "租约 {lease} 正在执行，但未列入您本人或您的单位。",
    ),
    "access.lease_lacks": (
        "Lease {lease} does not (or no longer) include {function} on this camera.",
        "租约 {lease} 不（再）包括该摄像机的 {function}。",
    ),
    "access.role_lacks": (
        "The lease includes {function}, but your roles do not.",
        "租约包括 {function}，但您的角色不具备该权限。",
    ),
    "access.role_needed": (
        "This needs the role {roles}.",
        "此操作需要角色：{roles}。",
    ),
    "access.users_only": (
        "This is for signed-in users, not for tokens.",
        "此操作仅限登录用户，令牌不可使用。",
    ),
    "access.function_unknown": (
        "There is no function {function}; there are {known}.",
        "没有功能 {function}；可用的有 {known}。",
    ),
    "access.grant_malformed": (
        "The grant is not understood at {field}.",
        "授权内容的 {field} 无法识别。",
    ),
    # --- signing in
    "access.not_signed_in": ("Sign in first.", "请先登录。"),
    "access.bad_login": (
        "Login or password is wrong.",
        "用户名或口令错误。",
    ),
    "access.too_many_tries": (
        "Too many tries from this address; wait {seconds} s.",
        "该地址尝试次数过多，请等待 {seconds} 秒。",
    ),
    "access.too_many_tries_account": (
        "Too many tries for this login from elsewhere; wait {seconds} s, or sign in where you did before.",
        "该用户名在别处尝试次数过多，请等待 {seconds} 秒，或在曾登录过的地方登录。",
    ),
    "access.session_over": (
        "The sign-in has ended; sign in again.",
        "登录已失效，请重新登录。",
    ),
    "access.user_disabled": (
        "This user is disabled.",
        "该用户已停用。",
    ),
    "access.must_change": (
        "The first password must be changed before anything else: the page and `tiergate login` ask for a new one.",
        "须先修改初始口令：在网页登录或运行 tiergate login 时按提示修改。",
    ),
    "access.password_weak": (
        "The password is too short or too common; use at least {least} characters.",
        "口令过短或过于常见，至少 {least} 个字符。",
    ),
    # --- tokens
    "access.token_bad": (
        "The token is not valid here.",
        "令牌在此无效。",
    ),
    "access.token_expired": (
        "The token has expired.",
        "令牌已过期。",
    ),
    "access.token_revoked": (
        "The token has been revoked.",
        "令牌已被吊销。",
    ),
    "access.token_key_over": (
        "The key that signed the token was exchanged, and its time is over; ask for a new token.",
        "签发该令牌的密钥已更换且过渡期已结束，请重新申请令牌。",
    ),
    "access.token_key_gone": (
        "The signing key {key} that the catalog names is not under {folder}; bring the folder back from a backup.",
        "目录库指定的签名密钥 {key} 不在 {folder} 中，请从备份恢复该文件夹。",
    ),
    "access.token_overlap": (
        "The window of the old key lasts at most {most_days} days, as long as a token can.",
        "旧密钥的过渡期最长 {most_days} 天，与令牌的最长有效期相同。",
    ),
    "access.token_not_shared": (
        "Camera {camera} is not shared (sharing = none); set its sharing to departments first.",
        "摄像机 {camera} 未共享（sharing = none），请先将共享设为 departments。",
    ),
    "access.token_expiry": (
        "A token lasts between {least_minutes} minutes and {most_days} days.",
        "令牌有效期须在 {least_minutes} 分钟至 {most_days} 天之间。",
    ),
    "access.token_functions": (
        "A token can carry {allowed}; {function} is not among them.",
        "令牌可包含的功能为 {allowed}，不包括 {function}。",
    ),
    # --- stream passwords
    "access.stream_password_over": (
        "The stream password has been revoked or has expired.",
        "该取流口令已被吊销或已过期。",
    ),
    "access.stream_password_expiry": (
        "A stream password lasts between {least_minutes} minutes and {most_days} days.",
        "取流口令有效期须在 {least_minutes} 分钟至 {most_days} 天之间。",
    ),
    "access.stream_beyond": (
        "The owner may not watch camera {camera} live; a stream password never reaches further than its owner.",
        "所属令牌或用户无权观看摄像机 {camera} 的实时画面，取流口令不得超出其权限。",
    ),
    "access.stream_unmarked": (
        "Pictures for this viewer carry their name, and over RTSP nobody lays it over them. The stream password was "
        "made without a basis for giving them out unmarked.",
        "向该观看者提供的画面须带有其名称水印，而 RTSP 取流无法叠加水印；该取流口令未登记无水印提供的依据。",
    ),
    "access.stream_unmarked_basis": (
        "A token's pictures carry its holder's name; over RTSP nobody lays it over them. State who agreed to that and "
        "in which document (unmarked_basis).",
        "令牌的画面须带有持有者名称水印，而 RTSP 取流无法叠加水印。请填写同意无水印提供的单位或人员及文件号（unmarked_basis）。",
    ),
    "access.grant_empty": (
        "A grant names at least one camera or region, and one function.",
        "授权至少包括一个摄像机或区划，以及一项功能。",
    ),
    "access.exceeds_yours": (
        "Nobody grants what they may not grant: {what}.",
        "不得超出自身权限授权：{what}。",
    ),
    # --- register
    "access.register_away": (
        "The access register cannot be written; without it no picture is shown.",
        "访问登记无法写入，因此不能提供画面。",
    ),
    "access.expired": ("The permission has expired; the picture was ended.", "授权已到期，画面已结束。"),
    "access.revoked": ("The permission was revoked; the picture was ended.", "授权已撤销，画面已结束。"),
    # --- keys
    "access.keys_missing": (
        "The node's keys are missing under {folder}: bring them back from a backup (`tiergate restore`); only where there "
        "was no node yet, `tiergate init` makes them.",
        "{folder} 下缺少本节点密钥：请从备份恢复（tiergate restore）；仅在尚未建立节点时才运行 tiergate init。",
    ),
    "access.keys_unreadable": (
        "The node's keys under {folder} cannot be read ({problem}); run this as the node's user, for example "
        "`sudo -u tiergate tiergate …`.",
        "无法读取 {folder} 下的本节点密钥（{problem}）；请以节点所属用户执行，例如 sudo -u tiergate tiergate …。",
    ),
    "access.keys_open": (
        "The key file {file} can be read by others; set its mode to 0600.",
        "密钥文件 {file} 可被其他用户读取，请将权限设为 0600。",
    ),
    "access.keys_owner": (
        "The keys under {folder} belong to user {uid}; run this command as that user, else the node could not read the "
        "new key.",
        "{folder} 下的密钥属于用户 {uid}，请以该用户身份运行本命令，否则节点无法读取新密钥。",
    ),
    "access.keys_busy": (
        "A backup is being written or keys are being exchanged; do it again when that is done.",
        "正在写备份或更换密钥，请在其完成后重试。",
    ),
    "access.sealing_key_gone": (
        "The sealing key {key} that the catalog names is not under {folder}; bring the folder back from a backup.",
        "目录库指定的封存密钥 {key} 不在 {folder} 中，请从备份恢复该文件夹。",
    ),
    "access.accounts_unreadable": (
        "The accounts of {count} cameras open with no key of this node ({cameras}); nothing was begun. Give those "
        "cameras their passwords again, or bring the key back from a backup.",
        "{count} 路摄像机的账号无法用本节点的任何密钥打开（{cameras}），未作任何更换。请重新填写这些摄像机的密码，或从备份恢复密钥。",
    ),
    # --- nouns
    "access.region_unknown": ("There is no region {region}.", "没有区划 {region}。"),
    "access.region_exists": ("Region {region} exists already under other facts.", "区划 {region} 已存在且内容不同。"),
    "access.region_header": (
        "The region list needs a first line that names its columns, at least code,name.",
        "区划清单首行须为列名，至少包含 code,name。",
    ),
    "access.region_row_bad": ("Row {row} of the region list: {problem}", "区划清单第 {row} 行：{problem}"),
    "access.region_parent": (
        "Region {region} names the parent {parent}, which is not known.",
        "区划 {region} 的上级 {parent} 不存在。",
    ),
    "access.region_loop": ("Region {region} would be above itself.", "区划 {region} 不能是自己的上级。"),
    "access.department_unknown": (
        "There is no department {department}. Nearest: {known}; `tiergate department list` shows all.",
        "没有部门 {department}。相近的有：{known}；运行 tiergate department list 查看全部。",
    ),
    "access.area_unknown": ("There is no area {area}.", "没有区域 {area}。"),
    "access.area_mixed": (
        "An area has cameras or regions, not both: make two areas.",
        "区域要么按摄像机、要么按区划，不能兼有：请建两个区域。",
    ),
    "access.area_end_past": (
        "An area ends from now on, {earliest} at the earliest: what was recorded before keeps its class.",
        "区域只能从现在起结束，最早为 {earliest}：此前的录像保存类别不变。",
    ),
    "access.camera_unknown": ("There is no camera {camera}.", "没有摄像机 {camera}。"),
    "access.camera_exists": ("Camera {camera} is registered already.", "摄像机 {camera} 已登记。"),
    "access.camera_duplicate": (
        "The same stream is registered already as camera {camera}.",
        "该视频流已登记为摄像机 {camera}。",
    ),
    "access.place_forbidden": (
        "Cameras are not allowed in a place of type {site_type} (Order 799, article 8).",
        "{site_type} 类场所禁止安装摄像机（国务院令第799号第八条）。",
    ),
    "access.site_type_unknown": (
        "The place type {site_type} is not known; use one of {known}.",
        "场所类型 {site_type} 未知，可用：{known}。",
    ),
    "access.name_taken": ("{name} exists already.", "{name} 已存在。"),
    "access.role_unknown": ("There is no role {role}; there are {known}.", "没有角色 {role}；可用的有 {known}。"),
    "access.user_unknown": ("There is no user {user}.", "没有用户 {user}。"),
    "access.posting_lacks": (
        "You are posted to {unit}, which may not use {function} here.",
        "您现派驻于{unit}，该单位在此不得使用{function}。",
    ),
    "access.posting_admin": (
        "Administrators and the person's own department are no posting: take the roles away first, or name another unit.",
        "管理员不得派驻，也不得派驻到本单位：请先撤销管理角色，或指定其他单位。",
    ),
    "access.posting_end": (
        "A posting needs a unit and an end within 366 days.",
        "派驻须填写单位和 366 天之内的结束时间。",
    ),
    "access.nobody_on_duty": (
        "Nobody is on duty at this wall: sign on with your own name first.",
        "本大屏当前无人值班：请先以本人账号上岗。",
    ),
    "access.shift_over": (
        "The shift is over, or somebody else is on duty at this wall now.",
        "值班已结束，或本大屏已由他人接班。",
    ),
    "access.shift_unknown": ("There is no shift {shift}.", "没有值班记录 {shift}。"),
    "access.not_a_wall": (
        "You are signed in as yourself. People sign on for a shift where a shared wall is signed in.",
        "您已以本人账号登录；上岗登记须在共享大屏账号登录的页面上办理。",
    ),
    "access.wall_function": (
        "On a shared wall one looks and steers; for {function} sign in with your own name.",
        "共享大屏仅可观看和控制云台；使用 {function} 请以本人账号登录。",
    ),
    "access.wall_lacks": (
        "The wall {wall} may not use {function} here.",
        "大屏“{wall}”在此不得使用 {function}。",
    ),
    "access.wall_looks": (
        "A shared wall is for looking. Sign in with your own name for this.",
        "共享大屏仅供观看，此操作请以本人账号登录。",
    ),
    "access.wall_account": (
        "A shared wall has no administrator's role and is not posted anywhere.",
        "共享大屏账号不得具有管理角色，也不得派驻。",
    ),
    "access.wall_login": (
        "The login of a shared wall has at most {most} characters.",
        "共享大屏账号的登录名最多 {most} 个字符。",
    ),
    "access.seal_wrong": (
        "There is no such seal, or it was opened or made void before. The attempt is in the audit log.",
        "封存码不存在、已启用或已作废。此次尝试已记入审计日志。",
    ),
    "access.seal_unknown": ("There is no seal {seal}.", "没有封存权限 {seal}。"),
    "access.seal_own": ("Somebody else reviews what you opened.", "须由他人复核您启用的封存权限。"),
    "access.seal_sealer": ("Somebody else opens what you sealed.", "须由他人启用您所封存的权限。"),
    "access.seal_not_open": ("This seal was not opened, or is reviewed already.", "该封存权限未启用或已复核。"),
    "access.seal_running": ("Its rights still run: end them first, then review.", "权限仍在有效期内：请先终止再复核。"),
    "access.last_admin": (
        "At least one enabled user must keep the role {role}.",
        "至少须有一名启用的用户保有角色 {role}。",
    ),
    "access.own_roles": (
        "Nobody changes their own roles.",
        "不得修改自己的角色。",
    ),
    "access.own_rights": (
        "This would widen your own rights; another security administrator does it.",
        "此操作将扩大您本人的权限，须由其他安全管理员办理。",
    ),
    "access.audio_basis": (
        "Switching sound on needs a reason and a document (audio_basis).",
        "开启声音须填写依据和文件号（audio_basis）。",
    ),
    "access.class_unknown": (
        "There is no retention class {class} for areas; there are {known}.",
        "没有可用于区域的保存类别 {class}；可用的有 {known}。",
    ),
}
