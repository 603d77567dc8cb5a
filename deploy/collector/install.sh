#!/bin/sh
# Install the collector, or bring it up to date: the folder this file is in becomes /opt/muster-collector.
# Settings, secret and policy that are there are kept. Run it as root.
set -eu

usage() {
    cat <<'EOF'
usage: install.sh [--server URL] [--secret FILE] [--mode beside|autoload|attach] [--root DIR] [--no-start]

  --server URL   where the server is; written into a new /etc/muster/collector.toml
  --secret FILE  the enrol secret; copied to /etc/muster/enroll_secret, for root alone
  --mode MODE    beside    osqueryd sends its log itself; the collector asks and answers (default for a new one)
                 autoload  osqueryd starts the extension and logs into it
                 attach    the collector's service keeps an extension attached to osqueryd;
                           goes on when brought up to date without --mode
  --root DIR     install below DIR and start nothing: for making packages
  --no-start     do not start the service
EOF
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

server= secret= mode= root= start=yes
while [ $# -gt 0 ]; do
    case $1 in
        --server | --secret | --mode | --root)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            case $1 in
                --server) server=$2 ;;
                --secret) secret=$2 ;;
                --mode) mode=$2 ;;
                --root) root=${2%/} start=no ;;
            esac
            shift 2
            ;;
        --no-start) start=no; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
case $mode in '' | beside | autoload | attach) ;; *) usage >&2; exit 2 ;; esac
case $server in '' | https://* | http://*) ;; *) fail "--server is to begin with https://" ;; esac
case $server in *[\"\\]* ) fail "--server holds a quote or a backslash" ;; esac
[ "$(id -u)" = 0 ] || fail "run it as root: osqueryd starts only what belongs to root"
[ -z "$secret" ] || [ -r "$secret" ] || fail "$secret cannot be read"

unit=$root/etc/systemd/system/muster-collector.service
[ "$(uname -s)" != Darwin ] || unit=$root/Library/LaunchDaemons/org.muster.collector.plist
# Brought up to date without --mode, a service that keeps the extension goes on to keep it: osqueryd's log depends on it.
if [ -z "$mode" ] && [ -e "$unit" ] && grep -Eq '^ExecStart=.*muster-collector run|<string>run</string>' "$unit"; then
    mode=attach
fi
mode=${mode:-beside}

here=$(cd "$(dirname "$0")" && pwd)
home=/opt/muster-collector
to=$root$home
[ -x "$here/collector/muster-collector" ] || fail "$here is not the unpacked archive"
# An archive of another system, or for a newer C library, is told before anything is changed.
"$here/collector/muster-collector" --version >/dev/null || fail "this archive does not run on this machine"

# The new tree stands complete beside the old one before it takes its place.
mkdir -p "$root/opt"
rm -rf "$to.new"
cp -R "$here" "$to.new"
# The file that osqueryd loads: it must end in .ext, name an interpreter, belong to root, and no one else may write it.
cat >"$to.new/muster.ext" <<EOF
#!/bin/sh
exec $home/collector/muster-collector extension "\$@"
EOF
chown -R 0:0 "$to.new"
chmod -R go-w "$to.new"
chmod 0755 "$to.new" "$to.new/muster.ext"
rm -rf "$to.old"
[ ! -e "$to" ] || mv "$to" "$to.old"
mv "$to.new" "$to"
rm -rf "$to.old"
mkdir -p "$root/usr/local/bin"
ln -sfn "$home/collector/muster-collector" "$root/usr/local/bin/muster-collector"

etc=$root/etc/muster
mkdir -p "$etc"
chmod 0755 "$etc"
for one in collector.toml policy.toml; do
    [ -e "$etc/$one" ] || install -m 0644 "$here/etc/$one" "$etc/$one"
done
if [ -n "$server" ]; then
    if grep -q '^server *=' "$etc/collector.toml"; then
        grep -qF "server = \"$server\"" "$etc/collector.toml" ||
            fail "$etc/collector.toml names another server already: change it there"
    else
        { printf 'server = "%s"\n' "$server"; cat "$etc/collector.toml"; } >"$etc/collector.toml.new"
        mv "$etc/collector.toml.new" "$etc/collector.toml"
    fi
fi
[ -z "$secret" ] || install -m 0600 "$secret" "$etc/enroll_secret"

if [ "$mode" = autoload ]; then
    mkdir -p "$root/etc/osquery"
    load=$root/etc/osquery/extensions.load
    [ -e "$load" ] || : >"$load"
    grep -qxF "$home/muster.ext" "$load" || echo "$home/muster.ext" >>"$load"
fi
command=uplink
[ "$mode" != attach ] || command=run
if [ "$(uname -s)" = Darwin ]; then
    source=$here/launchd/org.muster.collector.plist
    edit="s|<string>uplink</string>|<string>$command</string>|"
else
    source=$here/systemd/muster-collector.service
    edit="s|^\\(ExecStart=.*muster-collector\\) uplink|\\1 $command|"
fi
mkdir -p "$(dirname "$unit")"
sed "$edit" "$source" >"$unit"
chmod 0644 "$unit"
if [ "$mode" != beside ] && [ "$(uname -s)" != Darwin ]; then
    mkdir -p "$root/etc/systemd/system/osqueryd.service.d"
    install -m 0644 "$here/systemd/osqueryd-restart.conf" "$root/etc/systemd/system/osqueryd.service.d/muster.conf"
fi
if [ "$start" = yes ]; then
    if [ "$(uname -s)" = Darwin ]; then
        launchctl bootout system "$unit" 2>/dev/null || true
        launchctl bootstrap system "$unit"
    else
        systemctl daemon-reload
        systemctl enable muster-collector
        systemctl restart muster-collector
    fi
fi

echo "Installed in $to ($("$to/collector/muster-collector" --version), mode $mode)."
[ -z "$root" ] || exit 0
echo "osqueryd's flags for this mode are in $home/osquery; what is still to be mended:"
"$home/collector/muster-collector" check || exit $?
