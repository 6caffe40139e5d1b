"""What the people read who are given an evidence package: the two README files in it."""

from __future__ import annotations

ENGLISH = """\
Evidence package of a tiergate node
===================================

footage/CAMERA/TIME_ID.mp4  the segments as they were recorded, byte for byte: not cut, not encoded anew. TIME is UTC.
                            Any player plays them. The first begins before the time asked for, the last ends behind it.
manifest.json               what is in the package and what is not: digest, start and end of each segment, its row in
                            the catalog, gaps with their cause, footage deleted before, who made it, for which case
manifest.sig                the node's signature of manifest.json (Ed25519)
audit.ndjson                the entry of the node's audit log for this package, and the signed head of the log
verify_evidence.py          the program that judges all this

Judge it
--------
1. Python 3.8 or later with the package "cryptography" (pip install cryptography). No network, no tiergate.
2. Take verify_evidence.py from the node's office or from somebody who is not party to the case. The copy in here could
   have been changed together with the rest.
3. Ask the node's office, by another way than the one the package came by, for the fingerprint of its key
   ("tiergate export key" shows it).
4. python3 verify_evidence.py PACKAGE.zip --key FINGERPRINT
   Exit status 0: every byte is what the node signed. 1: not; the first thing that is wrong is named.
   Without --key the package is only whole in itself; whoever signed it is shown and must be compared.
5. With an export of the node's audit log: --audit FILE shows that the log names this package.

What it proves and what not
---------------------------
It proves that a holder of the node's key signed exactly these bytes, and that each segment's bytes are those recorded
(or, where the manifest says "damaged", that they are not). It does not prove that the pictures show what happened:
a camera can be deceived before the node. Times are those of the node's clock at arrival ("time_trust" says how far it
was trusted); the time drawn into the picture is the camera's own, and how far that clock is off is not recorded.
The date of the package is the node's own word: there is no stamp of a time authority (RFC 3161).
"""

CHINESE = """\
tiergate 节点证据包
==================

footage/摄像机/时间_编号.mp4  录制时的原始分段，逐字节一致，未剪辑、未转码；文件名中的时间为 UTC。
                            任何播放器均可播放。首段早于所请求的开始时间，末段晚于结束时间。
manifest.json               清单：每段的摘要、起止时间和目录记录，缺失时段及原因，此前已删除的录像，制作人和案件编号
manifest.sig                节点对 manifest.json 的签名（Ed25519）
audit.ndjson                节点审计日志中本证据包的记录，以及当时日志的签名检查点
verify_evidence.py          核验程序

核验方法
--------
1. 需要 Python 3.8 或更高版本及 cryptography 软件包（pip install cryptography）；无需联网，无需安装 tiergate。
2. 请从节点管理单位或与案件无利害关系的一方取得 verify_evidence.py；包内的副本可能与其他内容一同被改动。
3. 请通过与证据包不同的渠道，向节点管理单位索取密钥指纹（tiergate export key 可显示）。
4. python3 verify_evidence.py 证据包.zip --key 密钥指纹
   退出码 0：每个字节均与节点签名一致；1：不一致，并指出第一处问题。
   不给 --key 时只能说明证据包自身完整；签名者的指纹会显示出来，须另行比对。
5. 如有节点审计日志的导出文件，可用 --audit 文件 核对日志中确有本证据包的记录。

能证明什么，不能证明什么
------------------------
能证明：持有节点密钥者签署的正是这些字节；每段录像与录制时一致（清单注明 damaged 的除外）。
不能证明画面反映了真实情况：摄像机在节点之前就可能被欺骗。时间为节点时钟记录的到达时间（time_trust 说明其可信程度）；
画面中叠加的时间由摄像机自身产生，其时钟误差未作记录。
制作时间由节点自行声明，未加盖时间戳机构的时间戳（RFC 3161）。
"""
