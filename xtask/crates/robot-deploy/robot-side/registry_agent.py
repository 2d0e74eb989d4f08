"""Registry agent: makes new layers in a robot's registry from layers that the registry has.

Runs in the registry's container for the length of one delivery. Each line of stdin is a command in JSON, each line of
stdout the answer to a command. A layer is sent as a delta (see layer-delta/src/file.rs), whose bytes follow the command. They
are written to a spool as they arrive, so that an interrupted transfer can resume, and are applied while the rest is
still being sent. A finished layer is moved to the place where the registry's file system driver keeps blobs, under the
digest that was computed here; an unfinished layer is never visible there.
"""
import binascii
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import struct
import sys
import threading
import time
import zlib

import zstandard

ROOT = "/var/lib/registry"
BLOBS = ROOT + "/docker/registry/v2/blobs/sha256"
REPOSITORIES = ROOT + "/docker/registry/v2/repositories"
WORK = ROOT + "/courier"  # named so by the first versions: all versions of xtask share this directory and its lock
DAY = 24 * 60 * 60
CHUNK = 1 << 20

# Seconds without input after which the laptop is assumed to be gone: a cut link reports no error.
SILENCE = 10 * 60

# Seconds that a killed agent may take to end: a process that waits for a slow memory card ends only after that. The
# laptop waits a little longer for an answer.
ENDING = 50

# Most bytes of a command, and of a frame, its prefix or its result. A delta that needs more is damaged.
LIMIT = 32 << 20

# Most files in the index of a layer: more than any layer has, and few enough for the memory.
MAX_FILES = 1 << 20


class Refusal(Exception):
    """Reason why a command is refused: a kind, on which the laptop acts, and a text for people."""


def checked(text, pattern):
    """Returns a text from the laptop that becomes a part of a path, if it matches the pattern."""
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise Refusal("delta", "the command is damaged")
    return text


def hexadecimal(digest):
    return checked(digest, "sha256:[0-9a-f]{64}")[7:]


def blob(digest):
    name = hexadecimal(digest)
    return f"{BLOBS}/{name[:2]}/{name}/data"


def spool(name):
    return f"{WORK}/{checked(name, '[0-9a-f]{32}')}.spool"


def link(repository, digest):
    repository = checked(repository, "[a-z0-9]+([._/-]+[a-z0-9]+)*")
    return f"{REPOSITORIES}/{repository}/_layers/sha256/{hexadecimal(digest)}/link"


def read_some(count):
    """Reads up to `count` bytes of stdin. Exits after a long silence: a dead connection must not keep the lock."""
    signal.alarm(SILENCE)
    part = os.read(0, min(count, CHUNK))
    signal.alarm(0)
    return part or sys.exit(0)


def read_exactly(count):
    """Reads exactly `count` bytes of stdin."""
    parts = []
    while count:
        part = read_some(count)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_command():
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > LIMIT:
            raise ValueError("the command is too long")
        line += read_some(1)
    return json.loads(line)


def answer(**values):
    line = memoryview(json.dumps(values, separators=(",", ":")).encode() + b"\n")
    while line:
        line = line[os.write(1, line):]


def refuse(kind, why):
    answer(refused=kind, why=why)


def look(repository):
    """Answers with blobs, spools, the bytes of unfinished layers, and the free bytes of disks and memory."""
    digests = [f"sha256:{name}" for top in names(BLOBS) for name in names(f"{BLOBS}/{top}")]
    answer(held=held(repository, digests), spools=spools(), parts=parts(), memory=memory(), **disks())


def held(repository, digests):
    """Lists the blobs that are here: the first digits of the digest, bytes, whether the repository has the blob."""
    here = []
    for digest in digests:
        if os.path.exists(blob(digest)):
            linked = int(has_text(link(repository, digest), digest))
            here.append(f"{digest[7:23]}:{os.path.getsize(blob(digest))}:{linked}")
    return " ".join(here)


def has_text(path, text):
    """Returns whether a file has this text. A link that a power cut left empty does not, and is written again."""
    try:
        with open(path, "rb") as file:
            return file.read(len(text) + 2).strip() == text.encode()
    except OSError:
        return False


def spools():
    return {name[:-6]: os.path.getsize(f"{WORK}/{name}") for name in names(WORK) if name.endswith(".spool")}


def parts():
    """Returns the bytes of unfinished layers that earlier agents left; `begin` removes them."""
    total = 0
    for name in names(WORK):
        try:
            total += os.path.getsize(f"{WORK}/{name}") if name.endswith(".part") else 0
        except FileNotFoundError:
            pass  # its agent has just finished it
    return total


def disks():
    """Returns the free bytes for the registry and for the engine, whether both are on the same disk, and the copies of
    a layer that the engine keeps: a containerd store has the archive beside the files, a classic store only the files.
    """
    own, engine = os.statvfs(ROOT), os.statvfs("/")
    with open("/proc/self/mountinfo") as mounts:
        root = next(line for line in mounts if line.split()[4] == "/")
    return {
        "disk": own.f_bavail * own.f_frsize,
        "engine": engine.f_bavail * engine.f_frsize,
        "shared": (own.f_blocks, own.f_files) == (engine.f_blocks, engine.f_files),
        "copies": 2 if "snapshotter" in root else 1,
    }


def names(directory):
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def memory():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def peak():
    """Returns the peak memory of this process in bytes; 0 if the kernel does not report it."""
    with open("/proc/self/status") as lines:
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def begin(owner, repository, layers, keep=None):
    """Takes the lock. Kills an agent of the same owner, whose connection was cut; refuses if another owner has the
    lock. Answers with the blobs of `layers` that are here by now, and with the spools. If `keep` is given, only spools
    of these deltas stay.
    """
    os.makedirs(WORK, exist_ok=True)
    lock = open(f"{WORK}/lock", "a+")
    deadline = time.monotonic() + ENDING
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().split()
            if holder[:1] != [owner]:
                pruned = holder == ["prune"]  # see registry_prune.py
                why = "the robot's registry is being pruned" if pruned else "another machine is delivering to this robot"
                raise Refusal("busy", why) from None
            if time.monotonic() > deadline:
                raise Refusal("stale", "the registry agent of an earlier connection does not end") from None
            try:
                os.kill(int(holder[1]), signal.SIGKILL)
            except ProcessLookupError:
                pass
            time.sleep(0.02)  # the kernel frees the lock once the process is gone
    lock.truncate(0)
    lock.write(f"{owner} {os.getpid()}")
    lock.flush()
    for name in names(WORK):
        path = f"{WORK}/{name}"
        stale = name.endswith(".spool") and (
            time.time() - os.path.getmtime(path) > DAY or (keep is not None and name[:-6] not in keep)
        )
        if stale or name.endswith(".part"):
            os.unlink(path)
    # Not before the lock: another agent may have been writing to a spool or finishing a layer.
    answer(held=held(repository, layers), spools=spools())
    return lock


def contents(name):
    """Answers with checksum, length and offset of each file in a layer that the laptop does not have."""
    checked(name, "[0-9a-f]{16}")
    digest = next((f"sha256:{full}" for full in names(f"{BLOBS}/{name[:2]}") if full.startswith(name)), None)
    if digest is None:
        raise Refusal("basis", "a layer has been removed from the robot's registry")
    found = []
    with open(blob(digest), "rb") as layer:
        size = os.fstat(layer.fileno()).st_size
        position = 0
        while position + 512 <= size and len(found) < MAX_FILES:
            layer.seek(position)
            header = layer.read(512)
            if header[257:262] != b"ustar":
                break
            length = length_in(header[124:136])
            if length is None or position + 512 + length > size:
                break  # damaged, or not an archive
            if header[156:157] in b"0\0" and length:
                checksum, left = 0, length
                while left > 0 and (part := layer.read(min(left, CHUNK))):
                    checksum = zlib.crc32(part, checksum)
                    left -= len(part)
                found.append(struct.pack("<IQQ", checksum, length, position + 512))
            position += 512 + (length + 511) // 512 * 512 if header[156:157] not in b"12345" else 512
    packed = binascii.b2a_base64(zstandard.compress(b"".join(found), 9), newline=False)
    answer(digest=digest, contents=packed.decode())


def length_in(field):
    """Parses the length of a file in a tar header: octal digits, or a binary number (GNU tar)."""
    if field[0] & 0x80:
        return int.from_bytes(field[4:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(b"[0-7]+", digits) else None if digits else 0


class Delta:
    """The bytes of a delta: first those in the spool of an earlier connection, then those that arrive. A thread
    writes them to the spool as they arrive, even while an operation takes long: bytes in the spool are not sent again.
    """

    def __init__(self, name, offset):
        self.spool = open(spool(name), "ab+", buffering=0)
        self.arrived = self.spool.seek(0, os.SEEK_END)
        if self.arrived != offset:
            raise Refusal("spool", "the robot's spool has another size than expected")
        self.position = 0
        self.ended = False
        self.failure = None
        self.change = threading.Condition()
        self.receiver = threading.Thread(target=self.receive, daemon=True)
        self.receiver.start()

    def receive(self):
        try:
            while chunk := struct.unpack("<I", read_exactly(4))[0]:
                while chunk:
                    part = read_some(chunk)
                    chunk -= len(part)
                    write(self.spool, part)
                    with self.change:
                        self.arrived += len(part)
                        self.change.notify()
        except BaseException as failure:
            self.failure = failure
        with self.change:
            self.ended = True
            self.change.notify()

    def read(self, count):
        with self.change:
            self.change.wait_for(lambda: self.arrived - self.position >= count or self.ended)
        if self.failure:
            raise self.failure
        part = os.pread(self.spool.fileno(), count, self.position)
        if len(part) < count:
            raise Refusal("delta", "the delta ended early")
        self.position += count
        return part

    def end(self):
        self.receiver.join()
        if self.failure:
            raise self.failure
        if self.position != self.arrived:
            raise Refusal("delta", "the delta is longer than its layer needs")


class Sources:
    """The bases of a new layer, and the number of bytes read from them."""

    def __init__(self, digests):
        try:
            self.files = [open(blob(digest), "rb", buffering=0) for digest in digests]
        except FileNotFoundError:
            raise Refusal("basis", "a basis of the new layer is missing") from None
        self.read = 0

    def read_span(self, basis, offset, length):
        if basis >= len(self.files):
            raise Refusal("delta", "the delta is damaged")
        file = self.files[basis].fileno()
        part = os.pread(file, length, offset)
        while len(part) < length:
            more = os.pread(file, length - len(part), offset + len(part))
            if not more:
                raise Refusal("basis", "a basis of the new layer is too short")
            part += more
        self.read += length
        return part


def write(file, part):
    part = memoryview(part)
    while part:
        part = part[file.write(part):]


def make(repository, layer, size, name, offset, bases):
    """Makes a layer and checks its digest; then adds it to the registry."""
    unfinished, spool_path = f"{WORK}/{hexadecimal(layer)}.part", spool(name)
    try:
        delta = Delta(name, offset)
        sources = Sources(bases)
        with open(unfinished, "wb", buffering=0) as out:
            made, count = apply(delta, sources, out)
            delta.end()
            if (made, count) != (layer, size):
                raise Refusal("digest", "the layer made from the delta has another digest")
            os.fsync(out.fileno())
        move(unfinished, blob(layer))
    except BaseException as error:
        # The end of the connection leaves the spool for the next one. After any other error the delta is sent again.
        for path in (unfinished,) if isinstance(error, SystemExit) else (unfinished, spool_path):
            if os.path.exists(path):
                os.unlink(path)
        raise
    os.unlink(spool_path)
    attach(repository, layer)
    answer(made=layer, memory=peak(), read=sources.read)


def move(path, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(path, target)


def attach(repository, layer):
    """Links a blob into a repository."""
    write_file(link(repository, layer), layer)


def write_file(path, text):
    """Writes a file atomically."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave an empty file, which the registry cannot read
    os.rename(path + ".part", path)


def apply(delta, sources, out):
    """Applies a delta; returns the digest and the size of the result."""
    digest, count = hashlib.sha256(), 0

    def emit(part):
        nonlocal count
        digest.update(part)
        count += len(part)
        write(out, part)

    while (kind := delta.read(1)) != b"E":
        if kind == b"C":
            basis, offset, length = struct.unpack("<HQQ", delta.read(18))
            while length:
                part = sources.read_span(basis, offset, min(length, CHUNK))
                emit(part)
                offset, length = offset + len(part), length - len(part)
        elif kind == b"F":
            spans, size, length = struct.unpack("<HII", delta.read(10))
            ranges = [struct.unpack("<HQI", delta.read(14)) for _ in range(spans)]
            if max(size, length, sum(count for _, _, count in ranges)) > LIMIT:
                raise Refusal("delta", "the delta is damaged")
            prefix = b"".join(sources.read_span(*span) for span in ranges)
            emit(decode(delta.read(length), prefix, size))
        else:
            raise Refusal("delta", "the delta is damaged")
    return f"sha256:{digest.hexdigest()}", count


def decode(frame, prefix, size):
    dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
    try:
        # A frame with a size in its header gets that much memory, whatever `max_output_size` is.
        if zstandard.frame_content_size(frame) not in (size, -1):
            raise Refusal("delta", "the delta is damaged")
        made = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame, max_output_size=size)
    except zstandard.ZstdError:
        raise Refusal("digest", "a part of the layer cannot be decoded with the robot's bases") from None
    if len(made) != size:
        raise Refusal("delta", "the delta is damaged")
    return made


def check(layers):
    """Removes the layers that do not have their digest; answers with their digests."""
    bad = []
    for layer in layers:
        try:
            with open(blob(layer), "rb") as file:
                good = hashlib.file_digest(file, "sha256").hexdigest() == layer[7:]
        except FileNotFoundError:
            continue
        except OSError:
            good = False
        if not good:
            os.unlink(blob(layer))
            bad.append(layer)
    answer(bad=bad)


def serve():
    lock = None
    while True:
        arguments = read_command()
        do = arguments.pop("do")
        if do == "look":
            look(**arguments)
        elif do == "contents":
            contents(**arguments)
        elif do == "begin" and lock is None:
            lock = begin(**arguments)
        elif lock is None or do == "begin":
            raise Refusal("delta", f"{do} {'before' if lock is None else 'after'} begin")
        elif do == "attach":
            attach(**arguments)
            answer(attached=arguments["layer"])
        elif do == "check":
            check(**arguments)
        elif do == "make":
            make(**arguments)
        else:
            raise Refusal("delta", f"there is no command {do}")


def main():
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
    try:
        serve()
    except Refusal as refusal:
        refuse(*refusal.args)
    except MemoryError:
        refuse("memory", "the robot is short of memory")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            refuse("disk", "the robot's disk is full")
        else:
            refuse("system", str(error))
    except Exception as error:
        refuse("system", f"the command is invalid: {type(error).__name__}: {error}"[:300])
    sys.exit(1)


main()
