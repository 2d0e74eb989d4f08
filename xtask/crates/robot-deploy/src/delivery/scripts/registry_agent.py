"""Makes layers in a robot's registry out of those it has: the robot's end of the courier.

Runs inside the registry's container for the length of one delivery. Each line of stdin is a command in JSON,
each line of stdout the answer to one. A layer comes as a delta (see courier/delta.rs): its bytes are kept in a
spool as they arrive, so that a transfer that breaks off goes on where it stopped, and are worked off while the rest
is on its way. Blobs are put where the registry's file system driver keeps them, under their digest, only
once they have it; nobody sees an unfinished one.
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

# Seconds without a word, after which the other end is taken to be gone: a link that was cut says nothing.
SILENCE = 10 * 60

# Seconds for an agent to end that has been killed: one that waits for a slow memory card ends only after that. The other
# end waits a little longer for an answer.
ENDING = 50

# More than any frame makes, or refers to: what asks for more is damaged, and memory is short.
MOST = 32 << 20


# Files of a layer that are told of: more than any has, and few enough to be kept in memory.
FILES = 1 << 20


class Refusal(Exception):
    """What keeps a layer from being made: a kind that the other end knows, and words for people."""


def checked(text, pattern):
    """A word of the other end that becomes a part of a path."""
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


def link(repository, digest, kind="_layers"):
    repository = checked(repository, "[a-z0-9]+([._/-]+[a-z0-9]+)*")
    return f"{REPOSITORIES}/{repository}/{kind}/sha256/{hexadecimal(digest)}/link"


def hear(count):
    """Up to `count` bytes of stdin. Whoever says nothing for long is gone, and must not keep others waiting."""
    signal.alarm(SILENCE)
    part = os.read(0, min(count, CHUNK))
    signal.alarm(0)
    return part or sys.exit(0)


def receive(count):
    """Exactly `count` bytes of stdin."""
    parts = []
    while count:
        part = hear(count)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def command():
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > MOST:
            raise ValueError("a command without an end")
        line += hear(1)
    return json.loads(line)


def answer(**values):
    line = memoryview(json.dumps(values, separators=(",", ":")).encode() + b"\n")
    while line:
        line = line[os.write(1, line):]


def look(repository):
    """What is here: blobs by the beginning of their digest, spools, bytes of layers that were never finished, free bytes
    of disk and memory.
    """
    digests = [f"sha256:{name}" for top in names(BLOBS) for name in names(f"{BLOBS}/{top}")]
    answer(held=held(repository, digests), spools=spools(), parts=parts(), memory=memory(), **disks())


def held(repository, digests):
    """Those of some blobs that are here: the beginning of the digest, bytes, whether the repository has it."""
    here = []
    for digest in digests:
        if os.path.exists(blob(digest)):
            linked = int(says(link(repository, digest), digest))
            here.append(f"{digest[7:23]}:{os.path.getsize(blob(digest))}:{linked}")
    return " ".join(here)


def says(path, text):
    """Whether that is what a file says. A link that a power cut left empty says nothing, and is made again."""
    try:
        with open(path, "rb") as file:
            return file.read(len(text) + 2).strip() == text.encode()
    except OSError:
        return False


def spools():
    return {name[:-6]: os.path.getsize(f"{WORK}/{name}") for name in names(WORK) if name.endswith(".spool")}


def parts():
    """Bytes of layers that an agent was making when it ended; the next one begins by removing them."""
    total = 0
    for name in names(WORK):
        try:
            total += os.path.getsize(f"{WORK}/{name}") if name.endswith(".part") else 0
        except FileNotFoundError:
            pass  # finished meanwhile
    return total


def disks():
    """Free bytes for the registry and for the engine, whether those are the same disk, and the number of copies that
    the engine keeps: its containerd store has a layer as it came beside the files, its classic store the files only.
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
    """The most memory that this program has taken at a time, in bytes; 0 where the kernel does not say."""
    with open("/proc/self/status") as lines:
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def begin(owner, repository, layers, keep=None):
    """Takes the place of an agent of the same owner whose connection was cut; another's is left alone. Tells what is
    here by now of the layers that are to come, and of unfinished ones. Where room is short, only spools of the deltas
    `keep` stay.
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
                pruned = holder == ["prune"]  # see release/scripts/prune.py
                why = "the robot's registry is being pruned" if pruned else "another machine is delivering to this robot"
                raise Refusal("busy", why) from None
            if time.monotonic() > deadline:
                raise Refusal("stale", "what an earlier connection left on this robot does not end") from None
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
    # Only now: until then another agent may have been adding to them, or making a layer of one.
    answer(held=held(repository, layers), spools=spools())
    return lock


def contents(name):
    """Checksum, length and place of each file in a layer that the other end does not have."""
    checked(name, "[0-9a-f]{16}")
    digest = next((f"sha256:{full}" for full in names(f"{BLOBS}/{name[:2]}") if full.startswith(name)), None)
    if digest is None:
        raise Refusal("basis", "a layer that was asked about is gone")
    found = []
    with open(blob(digest), "rb") as layer:
        size = os.fstat(layer.fileno()).st_size
        position = 0
        while position + 512 <= size and len(found) < FILES:
            layer.seek(position)
            header = layer.read(512)
            if header[257:262] != b"ustar":
                break
            length = length_in(header[124:136])
            if length is None or position + 512 + length > size:
                break  # damaged, or no archive
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
    """The length of a file in the field of a tar header: octal digits, or a binary number (GNU tar)."""
    if field[0] & 0x80:
        return int.from_bytes(field[4:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(b"[0-7]+", digits) else None if digits else 0


class Delta:
    """The bytes of a delta: first those that an earlier connection brought, then those that arrive. A thread puts
    them into the spool as they come, however long a step takes: what is there is not sent again.
    """

    def __init__(self, name, offset):
        self.spool = open(spool(name), "ab+", buffering=0)
        self.arrived = self.spool.seek(0, os.SEEK_END)
        if self.arrived != offset:
            raise Refusal("spool", "the robot has another part of the layer than was thought")
        self.position = 0
        self.ended = False
        self.failure = None
        self.change = threading.Condition()
        self.keeper = threading.Thread(target=self.keep, daemon=True)
        self.keeper.start()

    def keep(self):
        try:
            while frame := struct.unpack("<I", receive(4))[0]:
                while frame:
                    part = hear(frame)
                    frame -= len(part)
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
        self.keeper.join()
        if self.failure:
            raise self.failure
        if self.position != self.arrived:
            raise Refusal("delta", "there is more in the delta than its layer needs")


class Sources:
    """The layers that a new one refers to, and how many bytes of them have been read."""

    def __init__(self, digests):
        try:
            self.files = [open(blob(digest), "rb", buffering=0) for digest in digests]
        except FileNotFoundError:
            raise Refusal("basis", "a layer that the new one refers to is gone") from None
        self.read = 0

    def piece(self, basis, offset, length):
        if basis >= len(self.files):
            raise Refusal("delta", "the delta is damaged")
        file = self.files[basis].fileno()
        part = os.pread(file, length, offset)
        while len(part) < length:
            more = os.pread(file, length - len(part), offset + len(part))
            if not more:
                raise Refusal("basis", "a layer that the new one refers to is shorter than it was")
            part += more
        self.read += length
        return part


def write(file, part):
    part = memoryview(part)
    while part:
        part = part[file.write(part):]


def make(repository, layer, size, name, offset, bases, image=()):
    """Makes one layer, checks it, and only then lets the registry have it, and an image that it completes."""
    unfinished, begun = f"{WORK}/{hexadecimal(layer)}.part", spool(name)
    try:
        delta = Delta(name, offset)
        sources = Sources(bases)
        with open(unfinished, "wb", buffering=0) as out:
            made, count = apply(delta, sources, out)
            delta.end()
            if (made, count) != (layer, size):
                raise Refusal("digest", "what was made of it is not the layer")
            os.fsync(out.fileno())
        place(unfinished, blob(layer))
    except BaseException as error:
        # An early end of the connection leaves the spool for the next one; everything else begins anew.
        for path in (unfinished,) if isinstance(error, SystemExit) else (unfinished, begun):
            if os.path.exists(path):
                os.unlink(path)
        raise
    os.unlink(begun)
    attach(repository, layer)
    publish(repository, *image)
    answer(made=layer, memory=peak(), read=sources.read)


def place(path, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(path, target)


def attach(repository, layer, kind="_layers"):
    """Lets a repository have a blob."""
    put(link(repository, layer, kind), layer)


def put(path, text):
    """Gives a file its content, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave a name without content, and the registry stumbles
    os.rename(path + ".part", path)


def publish(repository, *image):
    """Lets a repository have an image, configuration and manifest, whose layers it has."""
    for text, kind in zip(image, ("_layers", "_manifests/revisions")):
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        put(blob(digest), text)
        attach(repository, digest, kind)


def apply(delta, sources, out):
    """Works off a delta; the digest and the size of what came out."""
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
                part = sources.piece(basis, offset, min(length, CHUNK))
                emit(part)
                offset, length = offset + len(part), length - len(part)
        elif kind == b"F":
            spans, size, length = struct.unpack("<HII", delta.read(10))
            places = [struct.unpack("<HQI", delta.read(14)) for _ in range(spans)]
            if max(size, length, sum(place[2] for place in places)) > MOST:
                raise Refusal("delta", "the delta is damaged")
            prefix = b"".join(sources.piece(*place) for place in places)
            emit(decode(delta.read(length), prefix, size))
        else:
            raise Refusal("delta", "the delta is damaged")
    return f"sha256:{digest.hexdigest()}", count


def decode(frame, prefix, size):
    dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
    try:
        # A frame that tells its size is given that much memory, whatever the limit.
        if zstandard.frame_content_size(frame) not in (size, -1):
            raise Refusal("delta", "the delta is damaged")
        made = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame, max_output_size=size)
    except zstandard.ZstdError:
        raise Refusal("digest", "a part of the layer cannot be decoded with what the robot has") from None
    if len(made) != size:
        raise Refusal("delta", "the delta is damaged")
    return made


def check(layers):
    """Removes those of some layers that are not what their names say; names them."""
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
        words = command()
        do = words.pop("do")
        if do == "look":
            look(**words)
        elif do == "contents":
            contents(**words)
        elif do == "begin" and lock is None:
            lock = begin(**words)
        elif lock is None or do == "begin":
            raise Refusal("delta", f"{do} {'before' if lock is None else 'after'} begin")
        elif do == "attach":
            attach(**words)
            answer(attached=words["layer"])
        elif do == "check":
            check(**words)
        else:
            make(**words)


def main():
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
    try:
        serve()
    except Refusal as refusal:
        kind, text = refusal.args
        answer(refused=kind, why=text)
    except MemoryError:
        answer(refused="memory", why="the robot is short of memory")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer(refused="disk" if full else "system", why="the robot's disk is full" if full else str(error))
    except Exception as error:
        answer(refused="system", why=f"a command that cannot be understood: {type(error).__name__}: {error}"[:300])
    sys.exit(1)


main()
