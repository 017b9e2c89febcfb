"""A filter of system calls (seccomp), written by hand as BPF: what Landlock does not cover. Used by
``launch.py`` with nothing but the standard library on the path.

A refused call fails with an error and ends nobody. The filter reads the number of the call and its
first arguments as numbers; it cannot follow pointers, so that ``connect`` goes as a whole, even to
a socket with a path (a container engine's, say). A kernel of Jupyter only binds, and accepts."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

# fmt: off
# Numbers on (x86_64, aarch64); None where the machine has no such call.
NUMBERS = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "clone3": (435, 435),
    "openat2": (437, 437), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "connect": (42, 203), "sendmmsg": (307, 269), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fallocate": (285, 47), "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "lookup_dcookie": (212, 18), "fanotify_init": (300, 262),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "vhangup": (153, 58),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "personality": (135, 92), "socket": (41, 198), "socketpair": (53, 199), "clone": (56, 220),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "prlimit64": (302, 261),
    "ioctl": (16, 29), "truncate": (76, 45), "open": (2, None), "openat": (257, 56),
    "fcntl": (72, 25), "prctl": (157, 167), "mmap": (9, 222), "sync": (162, 81),
    "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_unlink": (241, 181), "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    "io_setup": (206, 0), "io_submit": (209, 2),
}
# fmt: on
LAST = 449  # later calls are not judged one by one: they do not exist. So are those
# of x32, the second set on x86_64, whose numbers have a high bit.

# Do nothing, and say that they did: Landlock lets a process change the mode, owner and times of
# any file of its user, and copying a file in Python fails when it may not. Nor the priority of any
# process of its user, and ZeroMQ ends when it may not set its own. To write out what the whole
# machine has in memory, again and again, would slow down the others.
SILENT = """
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat
    setpriority sched_setparam sched_setscheduler sync
"""
# Not there: other ways to do the same; memory that belongs to no process; what all processes of
# the machine share and find by its number (the IPC of System V), or have a few of together (AIO).
MISSING = """
    clone3 openat2 memfd_create memfd_secret io_uring_setup io_uring_enter io_uring_register
    shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    io_setup io_submit fallocate
"""
# Not permitted.
DENIED = """
    connect sendmmsg ptrace process_vm_readv process_vm_writev process_madvise
    process_mrelease kcmp pidfd_getfd unshare setns mount umount2 pivot_root chroot
    move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr keyctl add_key
    request_key bpf perf_event_open userfaultfd name_to_handle_at open_by_handle_at
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
    acct quotactl quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex
    sethostname setdomainname setxattr lsetxattr fsetxattr removexattr lremovexattr
    fremovexattr sched_setattr
    sched_setaffinity ioprio_set migrate_pages move_pages lookup_dcookie fanotify_init
    inotify_init inotify_init1 vhangup iopl ioperm modify_ldt personality
"""

ALLOW, ERROR = 0x7FFF0000, 0x00050000
LOAD, AND, RETURN, JUMP, EQUAL, AT_LEAST = 0x20, 0x54, 0x06, 0x05, 0x15, 0x35
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
PR_SET_SECCOMP, MODE_FILTER = 22, 2
NAMESPACES = 0x7E020000  # the flags of clone that make new ones
UNIX, NETLINK, STREAM, TYPE = 1, 16, 1, 0xF
TRUNCATES, O_TRUNC = 0o1003, 0o1000
SET_DUMPABLE, HUGE = 4, 0x40000
SET_OWNER, SET_OWNER_EX, SET_LEASE, NOTIFY, SET_PIPE_SIZE = 8, 15, 1024, 1026, 1031


class Only(NamedTuple):
    """A call passes when an argument, masked, has one of these values; with ``never`` it passes
    when it has none of them. Otherwise it fails with ``code``."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    never: bool = False
    code: int = errno.EPERM


def conditions(abi: int, pid: int) -> dict[str, list[Only]]:
    """Calls that depend on their arguments.

    :param abi: of Landlock; what it does not cover yet is refused here.
    :param pid: of this process, which may still signal itself.
    """
    found = {
        # ZeroMQ asks for the names of the network's interfaces, and ends unless it hears EINVAL.
        "socket": [
            Only(0, (NETLINK,), never=True, code=errno.EINVAL),
            *(Only(0, (UNIX,)), Only(1, (STREAM,), TYPE)),
        ],
        "socketpair": [Only(0, (UNIX,)), Only(1, (STREAM,), TYPE)],
        "clone": [Only(0, (0,), NAMESPACES)],
        "prlimit64": [Only(0, (0, pid))],
        # Put characters into a terminal; choose who gets signals.
        "ioctl": [Only(1, (0x5412, 0x541C, 0x8901, 0x8902), never=True)],
        # Hold up who writes to a file; take more than its share of the memory for pipes.
        "fcntl": [Only(1, (SET_LEASE, NOTIFY, SET_PIPE_SIZE), never=True)],
        # The watchdog of an ordinary user sees no open files of a process that forbids it.
        "prctl": [Only(0, (SET_DUMPABLE,), never=True)],
        # Huge pages are the machine's, and count as no process's memory.
        "mmap": [Only(3, (0,), HUGE, code=errno.ENOMEM)],
    }
    if abi < 6:  # signals to processes outside
        mine, nobody = [Only(0, (0, pid, 2**32 - pid))], [Only(0, ())]
        found |= {"kill": mine, "tgkill": [Only(0, (pid,))], "rt_sigqueueinfo": [Only(0, (pid,))]}
        found |= {"rt_tgsigqueueinfo": [Only(0, (pid,))]}
        found |= {"tkill": nobody, "pidfd_send_signal": nobody}
        found["fcntl"].append(Only(1, (SET_OWNER, SET_OWNER_EX), never=True))
    if abi < 3:  # emptying a file that may only be read
        found |= {"truncate": [Only(0, ())]}
        found |= {"open": [Only(1, (O_TRUNC, O_TRUNC | 3), TRUNCATES, never=True)]}
        found |= {"openat": [Only(2, (O_TRUNC, O_TRUNC | 3), TRUNCATES, never=True)]}
    return found


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF)


def _refuse(code: int) -> bytes:
    return _step(RETURN, ERROR | code)


def _check(one: Only) -> list[bytes]:
    steps = [_step(LOAD, 16 + 8 * one.argument), _step(AND, one.mask)]
    count = len(one.values)
    steps += [_step(EQUAL, value, count - at) for at, value in enumerate(one.values)]
    return [*steps, *([_step(JUMP, 1)] if one.never else []), _refuse(one.code)]


def program(machine: str, abi: int, pid: int) -> bytes:
    """The filter for a machine.

    :raises ValueError: a machine whose numbers are not here.
    """
    if machine not in ARCHITECTURES:
        raise ValueError(f"seccomp: expected one of {tuple(ARCHITECTURES)}, found {machine!r}")
    column, architecture = ARCHITECTURES[machine]
    # Calls of another machine's kind (32 bits) have other numbers: none passes.
    steps = [_step(LOAD, 4), _step(EQUAL, architecture, 1), _refuse(errno.EPERM)]
    steps += [_step(LOAD, 0), _step(AT_LEAST, LAST + 1, 0, 1), _refuse(errno.ENOSYS)]
    answers = ((SILENT, 0), (MISSING, errno.ENOSYS), (DENIED, errno.EPERM))
    for names, code in answers:
        for name in names.split():
            if (number := NUMBERS[name][column]) is not None:
                steps += [_step(EQUAL, number, 0, 1), _refuse(code)]
    for name, wanted in conditions(abi, pid).items():
        if (number := NUMBERS[name][column]) is not None:
            block = [step for one in wanted for step in _check(one)]
            block.append(_step(RETURN, ALLOW))  # the number of the call is forgotten by now
            steps += [_step(EQUAL, number, 0, len(block)), *block]
    return b"".join([*steps, _step(RETURN, ALLOW)])


def apply(abi: int = 0) -> None:
    """Filter the calls of this process and all its children for good. ``no_new_privs`` is set
    before.

    :raises OSError: the system refuses it.
    :raises ValueError: another machine than x86_64 and aarch64.
    """
    code = program(os.uname().machine, abi, os.getpid())
    steps = ctypes.create_string_buffer(code, len(code))
    filter = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filter, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
