"""Root file systems: a bare Debian, layers over it, and processes within. Linux, as root."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from index.errors import InputError

CLONE_NEWNS = 0x00020000  # linux/sched.h
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what Docker starts with
HOST = "run/host"  # what RUN steps are lent of this machine; on a tmpfs, so nothing of it stays


def enter_namespace() -> None:
    """Let what is mounted from here on be seen by this process and its children alone, and be gone with them."""
    if os.geteuid() != 0:
        raise InputError("needs root, to make a Debian root and to mount: sudo make check-image")
    if shutil.which("debootstrap") is None:
        raise InputError("needs debootstrap: apt-get install debootstrap")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:  # os.unshare is Python 3.12's
        raise InputError(f"no mount namespace is allowed here: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


def bare_debian(folder: Path, suite: str) -> Path:
    """A minimal Debian by debootstrap from the mirror that apt uses here; kept, and made once."""
    bare = folder / f"debian-{suite}"
    if not bare.exists():
        made = folder / f"debian-{suite}.partial"
        shutil.rmtree(made, ignore_errors=True)
        run("debootstrap", "--variant=minbase", suite, made, apt_mirror(suite))
        made.rename(bare)
    return bare


def apt_mirror(suite: str) -> str:
    """Where apt takes this suite from; Debian's own mirrors where apt does not know it."""
    listed = run("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages")
    known = dict(line.split() for line in reversed(listed.splitlines()) if len(line.split()) == 2)
    return known.get(suite, "http://deb.debian.org/debian")


@dataclass(frozen=True)
class Root:
    """A root file system of layers, the topmost first; `path` is where it is mounted."""

    path: Path
    layers: tuple[Path, ...]

    @classmethod
    def over(cls, layers: Sequence[Path], folder: Path) -> "Root":
        """A new, empty layer over these, mounted in the folder."""
        upper, work, path = (folder / name for name in ("layer", "work", "root"))
        for made in (upper, work, path):
            made.mkdir(parents=True)
        options = f"lowerdir={':'.join(map(str, layers))},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, path)
        return cls(path, (upper, *layers))

    def lend(self, certificates: Path | None) -> None:
        """What a RUN step needs of this machine: processes, devices, name resolution, whom to trust."""
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "--rbind", "/dev", self.path / "dev")
        run("mount", "-t", "tmpfs", "tmpfs", self.path / "run")
        (self.path / HOST).mkdir()
        shutil.copy("/etc/resolv.conf", self.path / HOST)
        self.bind(self.path / HOST / "resolv.conf", "etc/resolv.conf")
        if certificates is not None:
            shutil.copy(certificates, self.path / HOST / "certificates.pem")

    def take_back(self) -> None:
        """End what was lent."""
        for name in ("etc/resolv.conf", "run", "dev", "proc"):
            run("umount", "--recursive", self.path / name)

    def bind(self, source: Path, at: str, *, options: str = "rw") -> None:
        """Show a file or folder of this machine at a place within, which is there."""
        run("mount", "--bind", source, self.path / at)
        run("mount", "-o", f"remount,bind,{options}", self.path / at)

    def seal(self) -> None:
        """Read-only from now on, /tmp apart: as with `--read-only --tmpfs /tmp`."""
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "--rbind", "/dev", self.path / "dev")
        run("mount", "-t", "tmpfs", "tmpfs", self.path / "tmp")
        run("mount", "-o", "remount,ro", self.path)
        if not os.statvfs(self.path).f_flag & os.ST_RDONLY:
            raise InputError(f"{self.path} can be written to; expected a read-only root")

    def command(self, words: Sequence[str], user: str | None, workdir: str) -> list[str]:
        """The words as a command line that runs them within; a user other than root has no capability, nor gets one."""
        inside = ["env", f"--chdir={workdir}", *words]
        if user is not None:
            uid, _, gid = user.partition(":")
            dropped = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
            inside = ["setpriv", f"--reuid={uid}", f"--regid={gid or uid}", *dropped, *inside]
        return ["chroot", str(self.path), *inside]


def run(*words: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run to the end and give what it wrote; InputError with its last words where it failed."""
    done = subprocess.run(
        [str(word) for word in words],
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise InputError(f"{' '.join(map(str, words))[:200]} ended with {done.returncode}:\n{last}")
    return done.stdout
