"""Runs the agent with the input of a false laptop. Each session runs in a process of its own, which may only open files
in the registry's directory.

Stdin has blocks, each a length (u32, little-endian) and as many bytes. The first block is a blob for the registry.
Each of the others is the input of a session, and is answered by a line of JSON about the session's end.
"""
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import types
import zlib

try:
    import zstandard
except ImportError:
    # A substitute for the library of the registry's container: every frame is damaged.
    class ZstdError(Exception):
        pass

    def damaged(*_, **__):
        raise ZstdError("no frames here")

    zstandard = types.ModuleType("zstandard")
    zstandard.ZstdError = ZstdError
    zstandard.DICT_TYPE_RAWCONTENT = 1
    zstandard.ZstdCompressionDict = lambda *_, **__: None
    zstandard.ZstdDecompressor = lambda **_: types.SimpleNamespace(decompress=damaged)
    zstandard.frame_content_size = damaged
    zstandard.compress = lambda data, level: zlib.compress(data, level)
    sys.modules["zstandard"] = zstandard

# Longest session, in seconds: its whole input is there from the beginning.
TIMEOUT = 60

# Bytes of memory: more than the agent takes for the largest frame.
MEMORY = 1 << 30


def read_block():
    (length,) = struct.unpack("<I", sys.stdin.buffer.read(4) or sys.exit(0))
    return sys.stdin.buffer.read(length)


def fill(root, blob):
    name = hashlib.sha256(blob).hexdigest()
    base = f"{root}/docker/registry/v2"
    for directory in (f"{base}/blobs/sha256/{name[:2]}/{name}", f"{base}/repositories", f"{root}/courier"):
        os.makedirs(directory)
    for path, content in ((f"{base}/blobs/sha256/{name[:2]}/{name}/data", blob), (f"{root}/courier/begun.spool", b"C")):
        with open(path, "wb") as file:
            file.write(content)


def fence(root, report):
    """Ends this process as soon as it opens or changes a file that the agent must not touch."""
    readable = (os.path.dirname(os.__file__), "/proc/")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def is_inside(path):
        return os.path.realpath(os.fsdecode(path)).startswith(root + "/")

    def hook(event, args):
        if event == "open" and isinstance(args[0], (str, bytes)):
            # The flags are set for both `open` and `os.open`; only `open` has a mode.
            changes = bool((args[2] or 0) & writing)
            path = os.fsdecode(args[0])
            allowed = is_inside(path) or not changes and path.startswith(readable)
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.truncate", "shutil.rmtree"):
            path = args[0]
            allowed = is_inside(path)
        elif event in ("os.rename", "os.link", "os.symlink"):
            path = args[1]
            allowed = is_inside(args[0]) and is_inside(path)
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "socket.connect"):
            path, allowed = event, False
        else:
            return
        if not allowed:
            os.write(report, f"{event} {os.fsdecode(path)[:200]!r}".encode())
            os._exit(70)

    sys.addaudithook(hook)


def run_agent(top, program, session, report):
    """Runs the agent in the child process."""
    with open(f"{top}/in", "wb") as file:
        file.write(session)
    for number, (path, flags) in enumerate(((f"{top}/in", os.O_RDONLY), (f"{top}/out", 577), (f"{top}/err", 577))):
        os.dup2(os.open(path, flags, 0o600), number)
    resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY, 2 * MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    fence(f"{top}/registry", report)
    try:
        exec(program, {"__name__": "agent"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace"))
        code = 99
    else:
        code = 98
    os._exit(code)


def tail(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 500))
        return file.read().decode("utf-8", "replace")


def run(top, program, blob, session):
    fill(f"{top}/registry", blob)
    reports, report = os.pipe()
    child = os.fork()
    if child == 0:
        run_agent(top, program, session, report)
    os.close(report)
    deadline = time.monotonic() + TIMEOUT
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    outside = os.read(reports, 1000).decode()
    os.close(reports)
    ended = {"code": os.waitstatus_to_exitcode(status), "memory": usage.ru_maxrss * 1024, "outside": outside}
    ended.update(out=tail(f"{top}/out"), err=tail(f"{top}/err"))
    work = f"{top}/registry/courier"
    ended["unfinished"] = [name for name in os.listdir(work) if name.endswith(".part")] if os.path.isdir(work) else []
    return ended


def main():
    with open(sys.argv[1]) as file:
        source = file.read()
    blob = read_block()
    with tempfile.TemporaryDirectory() as directory:
        top = os.path.realpath(directory) + "/case"
        program = compile(source.replace("/var/lib/registry", f"{top}/registry"), "registry_agent.py", "exec")
        print(json.dumps({"zstandard": hasattr(zstandard, "__version__")}), flush=True)
        while True:
            session = read_block()
            os.mkdir(top)
            print(json.dumps(run(top, program, blob, session)), flush=True)
            shutil.rmtree(top)


main()
