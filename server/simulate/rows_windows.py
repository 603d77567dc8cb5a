"""Rows of the tables of Windows."""

from __future__ import annotations

from server.simulate.facts import FACTS, Rows
from server.simulate.models import Release

GIB = 1024**3
_DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"


@FACTS.table("users", "windows")
def users(kind: str, owner: str) -> Rows:
    """Local and service accounts."""
    accounts = [
        (18, 18, "SYSTEM", "", "%systemroot%\\system32\\config\\systemprofile", "S-1-5-18", "special"),
        (19, 19, "LOCAL SERVICE", "", "%systemroot%\\ServiceProfiles\\LocalService", "S-1-5-19", "special"),
        (500, 544, "Administrator", "Built-in account for administering the computer", "", f"{_DOMAIN}-500", "local"),
        (501, 546, "Guest", "Built-in account for guest access", "", f"{_DOMAIN}-501", "local"),
    ]
    if kind == "laptop":
        accounts.append((1001, 544, owner, owner.title(), f"C:\\Users\\{owner}", f"{_DOMAIN}-1001", "local"))
    columns = ("uid", "gid", "username", "description", "directory", "uuid", "type")
    shell = "C:\\Windows\\system32\\cmd.exe"
    return [{**dict(zip(columns, account, strict=True)), "shell": shell} for account in accounts]


@FACTS.table("logical_drives", "windows")
def logical_drives(day: int) -> Rows:
    """The system drive, on which a little less is free every day, and an empty CD drive."""
    return [
        {
            "device_id": "C:",
            "type": "Unknown",
            "description": "Local Fixed Disk",
            "file_system": "NTFS",
            "size": 476 * GIB,
            "free_space": 180 * GIB - day % 1000 * 10**7,
            "boot_partition": 1,
        },
        {
            "device_id": "D:",
            "type": "Unknown",
            "description": "CD-ROM Disc",
            "size": -1,
            "free_space": -1,
            "boot_partition": 0,
        },
    ]


@FACTS.table("bitlocker_info", "windows")
def bitlocker_info(encrypted: bool) -> Rows:
    """BitLocker of the system drive: 1 is fully encrypted, and protected."""
    return [
        {
            "device_id": "\\\\?\\Volume{a1f3c0de-0000-0000-0000-100000000000}\\",
            "drive_letter": "C:",
            "persistent_volume_id": "",
            "conversion_status": int(encrypted),
            "protection_status": int(encrypted),
            "encryption_method": "XTS-AES 256" if encrypted else "None",
            "protector_types": "",
            "version": 2,
            "percentage_encrypted": 100 if encrypted else 0,
            "lock_status": 0,
        }
    ]


@FACTS.table("security_profile_info", "windows")
def security_profile_info(guest: bool) -> Rows:
    """The security policy in force."""
    return [
        {
            "minimum_password_length": 14,
            "password_complexity": 1,
            "new_administrator_name": "Administrator",
            "new_guest_name": "Guest",
            "enable_admin_account": 0,
            "enable_guest_account": int(guest),
        }
    ]


@FACTS.table("programs", "windows")
def programs(software: tuple[tuple[str, str, str], ...], release: Release) -> Rows:
    """Programs that registered an uninstaller."""
    found = [("Microsoft Edge", "", "142.0.3595.80"), ("Microsoft Visual C++ 2022 X64 Runtime", "", "14.44.35211")]
    found += [("PowerShell 7-x64", "", "7.5.4.0"), ("Windows Update Health Tools", "", f"5.{release.revision}.0.0")]
    return [
        {
            "name": name,
            "version": version,
            "publisher": (identifier.split(".")[1] if identifier else "Microsoft Corporation"),
            "install_location": f"C:\\Program Files\\{name}",
            "install_date": "20260305",
            "identifying_number": "",
        }
        for name, identifier, version in [*found, *software]
    ]
