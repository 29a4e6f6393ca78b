"""The system-call filter of the sandbox (seccomp, in the kernel's own instructions): no new processes."""

from __future__ import annotations

import struct


def process_filter() -> bytes:
    """A seccomp program for x86-64 and AArch64: fork, vfork and clone of a process fail with EPERM, clone3 with ENOSYS
    (so that libc falls back to clone, whose flags can be read); clone of a thread and all else is allowed."""
    load, equal, at_least, any_bit, end = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse, unknown = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
    thread, number, machine, first_argument = 0x00010000, 0, 4, 16
    code = [
        (load, 0, 0, machine),
        (equal, 1, 0, 0xC000003E),  # x86-64 …
        (equal, 7, 12, 0xC00000B7),  # … or AArch64, or nothing
        (load, 0, 0, number),
        (at_least, 10, 0, 0x40000000),  # x32's numbers
        (equal, 10, 0, 57),  # fork
        (equal, 9, 0, 58),  # vfork
        (equal, 9, 0, 435),  # clone3
        (equal, 4, 0, 56),  # clone
        (end, 0, 0, allow),
        (load, 0, 0, number),
        (equal, 5, 0, 435),
        (equal, 0, 5, 220),  # clone on AArch64
        (load, 0, 0, first_argument),
        (any_bit, 3, 1, thread),
        (end, 0, 0, kill),
        (end, 0, 0, refuse),
        (end, 0, 0, unknown),
        (end, 0, 0, allow),
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in code)
