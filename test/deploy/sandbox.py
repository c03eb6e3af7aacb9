"""Runs a program with the system calls of a list alone, as systemd's SystemCallFilter= does: sandbox.py <file of names> <program> [argument…]."""
import errno
import os
import sys

import seccomp

calls = open(sys.argv[1]).read().split()
sandbox = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
for call in calls:
    # A list for all architectures names calls that this one does not have.
    if seccomp.resolve_syscall(seccomp.Arch(), call) >= 0:
        sandbox.add_rule(seccomp.ALLOW, call)
# Begins a program that is in the sandbox from its first instruction on.
sandbox.load()
os.execvp(sys.argv[2], sys.argv[2:])
