"""Starts the registry with a login that only root, and so every user of Docker on the robot, can read.

The login is created once and stays in the volume, so that a deploy continues if the registry restarts. It
becomes readable only after the registry's port was found free: a program that took the port before gets
neither the login nor images.
"""
import binascii
import os
import socket
import sys

import bcrypt

ADDRESS = os.environ.get("REGISTRY_HTTP_ADDR", "127.0.0.1:5000")
PASSWORDS = "/var/lib/registry/htpasswd"
LOGIN = "/var/lib/registry/credential"
HIDDEN = LOGIN + ".hidden"
USER = b"xtask"


def put(path, text):
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def is_whole():
    """Returns whether a complete login from an earlier start is there; a power cut may have damaged it."""
    try:
        with open(HIDDEN, "rb") as login, open(PASSWORDS, "rb") as passwords:
            user, password = binascii.a2b_base64(login.read()).split(b":")
            name, known = passwords.read().strip().split(b":")
        return user == name == USER and len(password) == 64 and bcrypt.checkpw(password, known)
    except (OSError, ValueError):
        return False


def prepare():
    if os.path.exists(LOGIN):
        os.rename(LOGIN, HIDDEN)
    host, _, port = ADDRESS.rpartition(":")
    socket.create_server((host, int(port))).close()
    if not is_whole():
        password = os.urandom(32).hex().encode()
        # Nobody can guess 256 random bits, so the hash need not be slow.
        put(PASSWORDS, USER + b":" + bcrypt.hashpw(password, bcrypt.gensalt(4)) + b"\n")
        put(HIDDEN, binascii.b2a_base64(USER + b":" + password))
    os.rename(HIDDEN, LOGIN)


if sys.argv[1:] == ["serve", "/etc/registry.yml"]:
    prepare()
os.execv("/usr/bin/docker-registry", ["docker-registry", *sys.argv[1:]])
