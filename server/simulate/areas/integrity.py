"""Secure boot, the system's own integrity, and code in the kernel."""

from __future__ import annotations

from server.simulate.areas.shared import registry
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, PASS, Finding, Judges, by
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, Trait

TRAITS = (
    Trait("secure_boot", "on", ("off", "unknown"), ("darwin", "windows")),
    Trait("secure_boot", "on", ("off", "unknown", "legacy"), ("linux",)),
    Trait("integrity", "on", ("off", "unknown"), EVERYWHERE),
    Trait("app_source", "enforced", ("open", "unknown"), ("darwin", "windows")),
    Trait("driver", "signed", ("unsigned",), ("windows",)),
    Trait("kernel_module", "harmless", ("risky",), ("linux",)),
    Trait("kernel_code", "approved", ("other",)),
)


def _kernel_code(state: State) -> Finding:
    other = state["kernel_code"] == "other" or (
        (state.platform == "windows" and state["driver"] == "unsigned")
        or (state.platform == "linux" and (state["kernel_module"] == "risky" or state["removable"] == "allowed"))
    )
    return (FAIL, "code nobody approved runs in the kernel") if other else (PASS, "the kernel runs approved code only")


JUDGES: Judges = {
    "secure-boot-on": by(
        "secure_boot",
        on=(PASS, "only signed systems start"),
        off=(FAIL, "secure boot is off"),
        legacy=(FAIL, "it starts without UEFI"),
        unknown=(ERROR, "the firmware does not say whether secure boot is on"),
    ),
    "os-integrity-protected": by(
        "integrity",
        on=(PASS, "the system protects itself"),
        off=(FAIL, "the system's protection is off"),
        unknown=(ERROR, "the system does not say whether it is protected"),
    ),
    "application-source-enforced": by(
        "app_source",
        enforced=(PASS, "unknown programs are stopped"),
        open=(FAIL, "any program may run"),
        unknown=(ERROR, "nobody can say which programs may run"),
    ),
    "drivers-signed": by(
        "driver", signed=(PASS, "all drivers are signed"), unsigned=(FAIL, "a driver bears no signature")
    ),
    "no-risky-kernel-modules": by(
        "kernel_module", harmless=(PASS, "no risky module is loaded"), risky=(FAIL, "sctp is loaded")
    ),
    "kernel-code-approved": _kernel_code,
}


@FACTS.table("secureboot")
def secureboot(platform: str, secure_boot: str) -> Rows:
    """What the firmware says."""
    if secure_boot in ("unknown", "legacy"):
        return []
    on = int(secure_boot == "on")
    if platform == "darwin":
        words = "Full Security" if on else "Permissive Security"
        return [{"secure_boot": None, "secure_mode": on, "description": words, "kernel_extensions": 1 - on}]
    return [{"secure_boot": on, "setup_mode": 0}]


@FACTS.table("file", "linux")
def firmware_files(secure_boot: str) -> Rows:
    """The folder that says that the machine was started by UEFI."""
    if secure_boot == "legacy":
        return []
    return [{"path": "/sys/firmware/efi", "directory": "/sys/firmware", "filename": "efi", "type": "directory"}]


@FACTS.table("sip_config", "darwin")
def sip_config(integrity: str) -> Rows:
    """System Integrity Protection."""
    enabled = {"on": 1, "off": 0, "unknown": None}[integrity]
    return [{"config_flag": "sip", "enabled": enabled, "enabled_nvram": enabled}]


@FACTS.table("mounts", "linux")
def security_file_system(integrity: str) -> Rows:
    """Where the kernel's security modules tell of themselves."""
    if integrity == "unknown":
        return []
    return [
        {"device": "securityfs", "device_alias": "securityfs", "path": "/sys/kernel/security", "type": "securityfs",
         "flags": "rw,nosuid"}
    ]  # fmt: skip


@FACTS.table("apparmor_profiles", "linux")
def apparmor_profiles(integrity: str) -> Rows:
    """Profiles that AppArmor enforces."""
    names = ("/usr/sbin/chronyd", "/usr/bin/man", "lsb_release", "nvidia_modprobe") if integrity == "on" else ()
    return [{"name": name, "attach": name, "path": f"profiles/{name}", "mode": "enforce"} for name in names]


@FACTS.table("deviceguard_status", "windows")
def deviceguard_status(integrity: str) -> Rows:
    """Security that rests on virtualisation."""
    vbs = {"on": "VBS_ENABLED_AND_RUNNING", "off": "VBS_NOT_ENABLED", "unknown": "UNKNOWN"}[integrity]
    services = "CREDENTIAL_GUARD MEMORY_INTEGRITY" if integrity == "on" else "NONE"
    return [
        {"version": "1.0", "vbs_status": vbs, "code_integrity_policy_enforcement_status": "ENFORCED_MODE",
         "configured_security_services": services, "running_security_services": services, "umci_policy_status": "OFF"}
    ]  # fmt: skip


@FACTS.table("gatekeeper", "darwin")
def gatekeeper(app_source: str) -> Rows:
    """Whether macOS assesses programs."""
    return [{"assessments_enabled": int(app_source == "enforced"), "dev_id_enabled": 1, "version": "181"}]


@FACTS.table("plist", "darwin")
def gatekeeper_switch(app_source: str) -> Rows:
    """The switch of the assessments, in its new and its old place, where it was touched."""
    if app_source != "open":
        return []
    places = ("/var/db/SystemPolicyConfiguration", "/var/db")
    return [{"path": f"{place}/SystemPolicy-prefs.plist", "key": "enabled", "value": "no"} for place in places]


@FACTS.table("registry", "windows")
def smart_screen(app_source: str) -> Rows:
    """SmartScreen's policy, where there is one."""
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Windows\\System"
    if app_source == "unknown":
        return []
    return [registry(key, "EnableSmartScreen", int(app_source == "enforced"))]


@FACTS.table("drivers", "windows")
def drivers(driver: str, kernel_code: str) -> Rows:
    """Drivers with an image."""
    found = [
        ("disk", "disk.sys", "Microsoft", "10.0.26100.1", "DiskDrive", 1),
        ("kbdclass", "kbdclass.sys", "Microsoft", "10.0.26100.1", "Keyboard", 1),
        ("e1dexpress", "e1d.sys", "Intel", "12.19.2.65", "Net", 1),
    ]
    if kernel_code == "other":
        found.append(("rtsuvc", "rtsuvc.sys", "Realtek", "10.0.22000.2", "Camera", 1))
    if driver == "unsigned":
        found.append(("labprobe", "labprobe.sys", "Contoso", "1.2.0.0", "USB", 0))
    folder = "C:\\Windows\\System32\\drivers"
    return [
        {"service": service, "image": f"{folder}\\{image}", "provider": provider, "version": version, "class": kind,
         "signed": signed}
        for service, image, provider, version, kind, signed in found
    ]  # fmt: skip


@FACTS.table("kernel_modules", "linux")
def kernel_modules(kernel_module: str, kernel_code: str, removable: str) -> Rows:
    """Loaded modules."""
    names = ["dm_crypt", "ext4", "nf_tables"]
    names += ["sctp"] if kernel_module == "risky" else []
    names += ["vboxdrv"] if kernel_code == "other" else []
    names += ["usb_storage"] if removable == "allowed" else []
    return [
        {"name": name, "size": 40_960 + 4096 * len(name), "used_by": "-", "status": "Live", "address": "0x0"}
        for name in names
    ]


@FACTS.table("kernel_extensions", "darwin")
def kernel_extensions() -> Rows:
    """Apple's own."""
    names = ("com.apple.kpi.bsd", "com.apple.kpi.mach", "com.apple.filesystems.apfs")
    return [{"idx": at, "name": name, "version": "25.1.0", "path": ""} for at, name in enumerate(names, 1)]


@FACTS.table("system_extensions", "darwin")
def other_extension(kernel_code: str) -> Rows:
    """A network extension nobody approved."""
    if kernel_code == "approved":
        return []
    return [
        {"identifier": "net.example.vpn.tunnel", "team": "ABCDE12345", "version": "3.2", "state": "activated_enabled",
         "category": "com.apple.system_extension.network_extension", "mdm_managed": 0}
    ]  # fmt: skip
