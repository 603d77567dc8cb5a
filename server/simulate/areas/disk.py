"""Volumes and their encryption, removable media and backups."""

from __future__ import annotations

from server.simulate.areas.shared import registry
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding, Judges, by
from server.simulate.models import GIB, Model
from server.simulate.presence import DAY
from server.simulate.state import State
from server.simulate.traits import LAPTOP, Trait

TRAITS = (
    Trait("second_volume", "none", ("encrypted", "plain", "unknown")),
    Trait("cipher", "strong", ("weak",)),
    Trait("removable", "denied", ("allowed",), ("darwin", "linux")),
    Trait("removable", "denied", ("allowed", "unset"), ("windows",)),
    Trait("backup", "recent", ("old", "none"), ("darwin",), LAPTOP),
)
_CIPHERS = {
    "darwin": {"strong": "APFS Encryption", "weak": "AES-CBC"},
    "linux": {"strong": "LUKS2-aes-xts-plain64", "weak": "LUKS1-aes-cbc-essiv:sha256"},
    "windows": {"strong": "XTS_AES_256", "weak": "AES_128_WITH_DIFFUSER"},
}
MAPPED_ROOT, PLAIN_ROOT = "/dev/mapper/vg-root", "/dev/vda1"
_MAPPED_DATA, _PLAIN_DATA, _SWAP, _PLAIN_SWAP = "/dev/mapper/vg-srv", "/dev/vdb1", "/dev/mapper/vg-swap", "/dev/vda3"


def _system(state: State) -> Finding:
    return (PASS, "the disk is encrypted") if state.encrypted else (FAIL, "the disk is not encrypted")


def _volumes(state: State) -> Finding:
    second = state["second_volume"]
    if not state.encrypted or second == "plain":
        return FAIL, "a fixed volume is not encrypted"
    if second == "unknown":
        return ERROR, "nobody can say whether the second volume is encrypted"
    return PASS, "every fixed volume is encrypted"


def _cipher(state: State) -> Finding:
    second = state["second_volume"]
    encrypted = state.encrypted or second == "encrypted"
    if encrypted and state["cipher"] == "weak":
        return FAIL, "an encrypted volume has a weak cipher"
    if second == "unknown":
        return ERROR, "nobody can say how the second volume is encrypted"
    if not encrypted:
        return NOT_APPLICABLE, "no volume is encrypted"
    return PASS, "every encrypted volume has a strong cipher"


JUDGES: Judges = {
    "system-volume-encrypted": _system,
    "fixed-volumes-encrypted": _volumes,
    "encryption-strong": _cipher,
    "removable-media-controlled": by(
        "removable",
        denied=(PASS, "removable media are kept off"),
        allowed=(FAIL, "removable media may be used"),
        unset=(ERROR, "nobody set whether removable media may be used"),
    ),
    "backup-recent": by(
        "backup",
        recent=(PASS, "it was backed up this week"),
        old=(FAIL, "the last backup is months old"),
        none=(ERROR, "there is no backup to tell the age of"),
    ),
    "backup-encrypted": lambda _: (PASS, "the backup is encrypted"),
}


@FACTS.table("mounts", "darwin")
def mac_mounts(second_volume: str) -> Rows:
    """The sealed system volume and the data volume."""
    rows: Rows = [
        {"device": "/dev/disk3s1s1", "path": "/", "type": "apfs", "flags": "75550721", "blocks_size": 4096},
        {"device": "/dev/disk3s5", "path": "/System/Volumes/Data", "type": "apfs", "flags": "76582912"},
        {"device": "devfs", "path": "/dev", "type": "devfs", "flags": "72368128"},
    ]
    if second_volume != "none":
        rows.append({"device": "/dev/disk5s1", "path": "/Volumes/Work", "type": "apfs", "flags": "76546048"})
    return rows


@FACTS.table("disk_encryption", "darwin")
def mac_disk_encryption(encrypted: bool, second_volume: str, cipher: str) -> Rows:
    """FileVault. APFS on Apple silicon is always encrypted; whether a password guards the key is the question."""
    volumes = [("/dev/disk3s1s1", encrypted), ("/dev/disk3s5", encrypted)]
    if second_volume in ("encrypted", "plain"):
        volumes.append(("/dev/disk5s1", second_volume == "encrypted"))
    return [
        {
            "name": name,
            "uuid": f"6C0F4A3E-0000-4000-8000-{at:012}",
            "encrypted": int(locked),
            "type": _CIPHERS["darwin"][cipher] if locked else "",
            "encryption_status": "encrypted" if locked else "not encrypted",
            "filevault_status": "on" if locked else "off",
        }
        for at, (name, locked) in enumerate(volumes)
    ]


@FACTS.table("mounts", "linux")
def linux_mounts(encrypted: bool, second_volume: str) -> Rows:
    """The root file system: on LUKS where it is encrypted."""
    root = MAPPED_ROOT if encrypted else PLAIN_ROOT
    mounted = [(root, "/", "ext4"), ("proc", "/proc", "proc"), ("/dev/vda2", "/boot", "ext4")]
    if second_volume != "none":
        mounted.append((_MAPPED_DATA if second_volume == "encrypted" else _PLAIN_DATA, "/srv", "xfs"))
    return [
        {"device": device, "device_alias": device, "path": path, "type": kind, "flags": "rw,relatime"}
        for device, path, kind in mounted
    ]


@FACTS.table("disk_encryption", "linux")
def linux_disk_encryption(encrypted: bool, second_volume: str, cipher: str) -> Rows:
    """Every block device; what lies on an encrypted one is encrypted."""
    devices = [("/dev/vda", False), (PLAIN_ROOT, encrypted), ("/dev/vda2", False)]
    devices += [(MAPPED_ROOT, True), (_SWAP, True)] if encrypted else [(_PLAIN_SWAP, False)]
    if second_volume != "unknown":
        devices.append((_PLAIN_DATA, second_volume == "encrypted"))
    if second_volume == "encrypted":
        devices.append((_MAPPED_DATA, True))
    return [
        {
            "name": name,
            "uuid": "",
            "encrypted": int(locked),
            "type": _CIPHERS["linux"][cipher] if locked else "",
            "encryption_status": "encrypted" if locked else "not encrypted",
        }
        for name, locked in devices
    ]


@FACTS.table("block_devices", "linux")
def linux_block_devices(encrypted: bool, model: Model) -> Rows:
    """The disk, its partitions, and the swap space."""
    swap = _SWAP if encrypted else _PLAIN_SWAP
    return [
        {"name": "/dev/vda", "parent": "", "vendor": model.vendor, "model": "QEMU HARDDISK", "size": 1_000_215_216,
         "block_size": 512, "type": ""},
        {"name": PLAIN_ROOT, "parent": "/dev/vda", "size": 990_000_000, "block_size": 512, "type": "ext4"},
        {"name": swap, "parent": "/dev/vda", "size": 8_000_000, "block_size": 512, "type": "swap"},
    ]  # fmt: skip


@FACTS.table("block_devices", "darwin")
def mac_block_devices() -> Rows:
    """The built-in disk."""
    return [
        {"name": "/dev/disk0", "parent": "", "vendor": "", "model": "APPLE SSD AP0512Z Media", "size": 122_138_133,
         "block_size": 4096}
    ]  # fmt: skip


@FACTS.table("disk_info", "windows")
def disk_info() -> Rows:
    """The built-in disk."""
    return [
        {"name": "\\\\.\\PHYSICALDRIVE0", "manufacturer": "(Standard disk drives)", "partitions": 4, "disk_index": 0,
         "hardware_model": "SAMSUNG MZVL2512HDJD", "type": "SCSI", "disk_size": 476 * GIB}
    ]  # fmt: skip


@FACTS.table("logical_drives", "windows")
def logical_drives(day: int, second_volume: str) -> Rows:
    """The system drive, on which a little less is free every day, and an empty CD drive."""
    fixed = {"type": "Unknown", "description": "Local Fixed Disk", "file_system": "NTFS"}
    rows: Rows = [
        {"device_id": "C:", **fixed, "size": 476 * GIB, "free_space": 180 * GIB - day % 1000 * 10**7,
         "boot_partition": 1},
        {"device_id": "D:", "type": "Unknown", "description": "CD-ROM Disc", "size": -1, "free_space": -1,
         "boot_partition": 0},
    ]  # fmt: skip
    if second_volume != "none":
        rows.append({"device_id": "E:", **fixed, "size": 900 * GIB, "free_space": 400 * GIB, "boot_partition": 0})
    return rows


@FACTS.table("bitlocker_info", "windows")
def bitlocker_info(encrypted: bool, second_volume: str, cipher: str) -> Rows:
    """BitLocker of the drives: 1 is fully encrypted, and protected."""
    drives = [("C:", encrypted)]
    if second_volume in ("encrypted", "plain"):
        drives.append(("E:", second_volume == "encrypted"))
    return [
        {
            "device_id": f"\\\\?\\Volume{{a1f3c0de-0000-0000-0000-{at:012}}}\\",
            "drive_letter": letter,
            "persistent_volume_id": "",
            "conversion_status": int(locked),
            "protection_status": int(locked),
            "encryption_method": _CIPHERS["windows"][cipher] if locked else "None",
            "protector_types": "",
            "version": 2,
            "percentage_encrypted": 100 if locked else 0,
            "lock_status": 0,
        }
        for at, (letter, locked) in enumerate(drives, 1)
    ]


@FACTS.table("usb_devices", "darwin")
def usb_devices(removable: str) -> Rows:
    """The keyboard and, where nobody keeps it off, a stick."""
    rows: Rows = [
        {"vendor": "Apple Inc.", "vendor_id": "05ac", "model": "Keyboard / Trackpad", "model_id": "0341", "class": "0",
         "removable": 0}
    ]  # fmt: skip
    if removable == "allowed":
        rows.append(
            {"vendor": "SanDisk", "vendor_id": "0781", "model": "Ultra", "model_id": "5581", "class": "8",
             "removable": 1}
        )  # fmt: skip
    return rows


@FACTS.table("registry", "windows")
def storage_policy(removable: str) -> Rows:
    """Whether removable media may be used, where anybody set it."""
    if removable == "unset":
        return []
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Windows\\RemovableStorageDevices"
    return [registry(key, "Deny_All", int(removable == "denied"))]


@FACTS.table("time_machine_destinations", "darwin")
def time_machine_destinations(backup: str) -> Rows:
    """Where backups go."""
    return [] if backup == "none" else [{"alias": "Backup", "destination_id": "7B0C", "encryption": "Encrypted"}]


@FACTS.table("time_machine_backups", "darwin")
def time_machine_backups(backup: str, week: int, long_ago: int) -> Rows:
    """The backups there are."""
    days = {"recent": (long_ago, week), "old": (long_ago,), "none": ()}
    return [{"destination_id": "7B0C", "backup_date": day * DAY} for day in days[backup]]
