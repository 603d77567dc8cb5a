"""The system's logs, what starts by itself, added roots of trust, and location."""

from __future__ import annotations

from server.simulate.areas.shared import a_file, registry, service, unit
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, PASS, Judges, by
from server.simulate.traits import EVERYWHERE, Trait

TRAITS = (
    Trait("audit_log", "on", ("off", "unknown"), ("windows",)),
    Trait("audit_log", "on", ("off",), ("darwin", "linux")),
    Trait("autostart", "approved", ("other",), EVERYWHERE),
    Trait("roots", "vendors", ("added",), EVERYWHERE),
    Trait("location", "on", ("off", "unknown"), ("darwin",)),
)


JUDGES: Judges = {
    "audit-log-running": by(
        "audit_log",
        on=(PASS, "the system's log runs"),
        off=(FAIL, "a part of the system's log is off"),
        unknown=(ERROR, "Windows does not say whether its log runs"),
    ),
    "autostart-items-approved": by(
        "autostart",
        approved=(PASS, "only approved items start"),
        other=(FAIL, "something starts that nobody approved"),
    ),
    "root-certificates-approved": by(
        "roots", vendors=(PASS, "nobody added a root"), added=(FAIL, "somebody added a root of trust")
    ),
    "location-services-as-agreed": by(
        "location",
        on=(PASS, "a lost device can be found"),
        off=(FAIL, "a lost device cannot be found"),
        unknown=(ERROR, "macOS does not say whether the device can be found"),
    ),
}
_BUNDLE = ("4F99AA93FB2BD13726A1994ACE7FF005F2935D1E", "ISRG Root X1")
_ADDED = ("5C0FFEE5C0FFEE5C0FFEE5C0FFEE5C0FFEE5C0FF", "Laboratory Root")


@FACTS.table("processes", "darwin")
def logd(audit_log: str) -> Rows:
    """The unified log."""
    found: Rows = [{"pid": 87, "name": "logd", "path": "/usr/libexec/logd", "state": "S", "uid": 0, "on_disk": 1}]
    return found if audit_log == "on" else []


@FACTS.table("systemd_units", "linux")
def auditd(audit_log: str) -> Rows:
    """auditd, which has to run where it is installed; elsewhere the journal is enough."""
    return [] if audit_log == "on" else [unit("auditd.service", "failed")]


@FACTS.table("services", "windows")
def event_log(audit_log: str) -> Rows:
    """The event log."""
    row = service(
        "EventLog", "Windows Event Log", "C:\\Windows\\System32\\svchost.exe -k LocalServiceNetworkRestricted"
    )
    return [row | {"status": "UNKNOWN"} if audit_log == "unknown" else row]


@FACTS.table("registry", "windows")
def script_blocks(audit_log: str) -> Rows:
    """Whether PowerShell's scripts are logged."""
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Windows\\PowerShell\\ScriptBlockLogging"
    return [registry(key, "EnableScriptBlockLogging", int(audit_log != "off"))]


@FACTS.table("launchd", "darwin")
def launchd(autostart: str) -> Rows:
    """Daemons of macOS, osquery's, and another."""
    found = [("/System/Library/LaunchDaemons", "com.apple.syslogd", "/usr/sbin/syslogd")]
    found += [("/Library/LaunchDaemons", "io.osquery.agent", "/opt/osquery/lib/osquery.app/Contents/MacOS/osqueryd")]
    if autostart == "other":
        found.append(("/Library/LaunchAgents", "com.example.updater", "/Library/Example/updater"))
    return [
        {"path": f"{folder}/{label}.plist", "name": f"{label}.plist", "label": label, "program": program}
        for folder, label, program in found
    ]


@FACTS.table("crontab", "linux")
def crontab(autostart: str) -> Rows:
    """The system's jobs, and another."""
    found = [("/etc/crontab", "root cd / && run-parts --report /etc/cron.hourly")]
    found += [("/etc/cron.d/telemetry", "root /opt/example/report")] if autostart == "other" else []
    return [
        {"minute": "17", "hour": "*", "day_of_month": "*", "month": "*", "day_of_week": "*", "command": command,
         "path": path}
        for path, command in found
    ]  # fmt: skip


@FACTS.table("scheduled_tasks", "windows")
def scheduled_tasks(autostart: str) -> Rows:
    """Tasks of Windows, and another."""
    found = ["\\Microsoft\\Windows\\Defrag\\ScheduledDefrag"]
    found += ["\\ExampleUpdater"] if autostart == "other" else []
    return [{"name": path.rsplit("\\", 1)[1], "path": path, "enabled": 1, "state": "ready"} for path in found]


@FACTS.table("certificates")
def certificates(platform: str, roots: str) -> Rows:
    """Roots of trust: the vendors', and one that was added."""
    keychains, store = "/Library/Keychains", "Trusted Root Certification Authorities"
    usual, added = {
        "darwin": (f"/System{keychains}/SystemRootCertificates.keychain", f"{keychains}/System.keychain"),
        "linux": ("/etc/ssl/certs/ca-certificates.crt", "/usr/local/share/ca-certificates/laboratory.crt"),
        "windows": (f"LocalMachine\\{store}", f"LocalMachine\\{store}"),
    }[platform]
    microsoft = ("3B1EFD3A66EA28B16697394703A72CA340A05BD5", "Microsoft Root Certificate Authority 2010")
    found = [(*(microsoft if platform == "windows" else _BUNDLE), usual)]
    found += [(*_ADDED, added)] if roots == "added" else []
    own = {"sha1": "A11CE000A11CE000A11CE000A11CE000A11CE000", "common_name": "com.apple.systemdefault", "ca": 0}
    rows: Rows = [{**own, "path": added}] if platform == "darwin" else []
    place = {"store_location": "LocalMachine", "store": store} if platform == "windows" else {}
    return rows + [{"sha1": sha1, "common_name": name, "path": path, "ca": 1, **place} for sha1, name, path in found]


@FACTS.table("file", "linux")
def added_root(roots: str) -> Rows:
    """The file of an added root."""
    return [a_file("/usr/local/share/ca-certificates/laboratory.crt")] if roots == "added" else []


@FACTS.table("location_services", "darwin")
def location_services(location: str) -> Rows:
    """Whether the Mac may know where it is."""
    return [{"enabled": {"on": 1, "off": 0, "unknown": None}[location]}]
