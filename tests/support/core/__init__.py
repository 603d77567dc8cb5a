"""A stand-in for osqueryd, as its extensions and the clients of its socket see it.

    python -m tests.support.core --extensions_socket=/tmp/x/osq.em --control=/tmp/x/control --journal=/tmp/x/journal \\
        --logger_plugin=muster --config_plugin=muster --extensions_require=muster --extensions_timeout=20

It takes osqueryd's own flags (``flags.py``), hosts the real Thrift ExtensionManager of osquery-python's generated code,
starts autoloaded extensions or waits for one to attach, pings them, reads the config, runs the schedule, logs, answers
``query`` by SQLite (``tables.py``), and ends with 78 where the transcripts s8, s9 and s11 end. ``control.py`` is how a
test drives it, ``running.py`` how a test runs it:

    with running.core(logger_plugin="muster", extensions_require="muster", autoload=running.COLLECTOR) as core:
        core.await_extension("muster")
        core.log("users", {"snapshot": line})           # raises CoreEndedError if it ended
        core.do("table", name="users", content=[{"uid": 1}])
        assert core.answered()[-1] == line               # every line that was answered with code 0
        core.kill(); core.start()                        # the same sockets and journal

Not there: the watchdog's worker process, distributed and carves, tables of extensions in SQL, events.
"""
