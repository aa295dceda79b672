"""The program in which generated code runs; started by ``code_running`` as a process of its own.

It limits itself first and reports at the end how the code ended. It imports nothing of this
package. Refusals are an audit hook (PEP 578), which stops accidents; a program that is bent on
getting out may find a way.
"""

import json
import os
import sys
import traceback
import types

_REFUSED = (  # beginnings of the names of audit events
    *("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "nntplib."),
    *("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty."),
    *("os.kill", "signal.pthread_kill", "ctypes.", "webbrowser."),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.chflags", "os.utime", "os.setxattr", "os.removexattr", "shutil."),
    *("os.startfile", "winreg.", "resource.setrlimit", "resource.prlimit", "sqlite3.", "syslog."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SAID = 4000  # characters of an error; its report is a file with a limit, too
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def limit(limits: dict) -> list[str]:
    """Limit this process; return the names of the limits that this system does not have."""
    try:
        import resource
    except ImportError:  # Windows
        return sorted(limits)
    missing = []
    for name, number in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (number, number))
        except (AttributeError, ValueError, OSError):
            missing.append(name)
    return missing


def leave_network() -> bool:
    """Go where there is no network, if this system lets everybody (Linux); say whether it did."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        return ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    except (ImportError, OSError, AttributeError):
        return False


def refuse(room: str):
    """Return an audit hook that refuses network, processes, and writing outside of ``room``."""
    inside = os.path.join(os.path.realpath(room), "")

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(_REFUSED):
            raise PermissionError(f"Generated code may not do this: {event}.")
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & _WRITING:
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(inside):
                raise PermissionError(f"Generated code may not write to {path}.")

    return hook


def ended(code: str) -> dict:
    """Run ``code``; return how it ended, as plain data."""
    try:
        # Dataclasses and pickle look for the module of a class.
        module = sys.modules["generated"] = types.ModuleType("generated")
        exec(compile(code, "<generated>", "exec"), vars(module))
    except SystemExit:
        return {"ended": "exited", "error": "It left before its end."}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == "<generated>"]
        is_its_own = isinstance(error, SyntaxError) and error.filename == "<generated>"
        line = error.lineno if is_its_own else lines[-1] if lines else None
        said = f"{type(error).__name__}: {_words_of(error)}".removesuffix(": ")
        return {"ended": "raised", "error": said, "line": line}
    return {"ended": "finished"}


def _words_of(error: BaseException) -> str:
    try:
        return str(error)[:_SAID]
    except BaseException:  # it is generated code that says so
        return ""


def main() -> None:
    limits, report_path = json.loads(sys.argv[1]), sys.argv[2]
    code = sys.stdin.read()
    with open(report_path, "w", encoding="utf-8") as report:
        is_root = hasattr(os, "getuid") and os.getuid() == 0  # asked before it is hidden
        no_network = leave_network()
        missing = limit(limits)
        if is_root and "RLIMIT_NPROC" not in missing:
            missing.append("RLIMIT_NPROC")  # Linux does not count the processes of root
        sys.addaudithook(refuse(os.getcwd()))
        found = ended(code)
        found |= {"missing": missing, "no_network": no_network}
        report.write(json.dumps(found))


if __name__ == "__main__":
    main()
