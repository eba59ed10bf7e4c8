"""The packages of a release, installed and used as their users do: in a clean Debian, and by rpm.

Needs root. The clean Debian is made once, of $COWTRACE_CHROOT's name, by debootstrap.
"""

import glob
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from common import equal

DIST = pathlib.Path(os.environ["COWTRACE_DIST"])
CLEAN = pathlib.Path(os.environ["COWTRACE_CHROOT"])
# Else the programs of another tree would be built in this one: cargo hands its [env] to whatever it runs.
os.environ.pop("COWTRACE_EBPF_TARGET_DIR", None)


def only(pattern):
    """The one artefact of this name."""
    found = list(DIST.glob(pattern))
    equal(f"how many are {pattern}", len(found), 1)
    return found[0]


def run(*words, ok=(0,), **more):
    """What a program prints; it has to end as it should."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **more)
    if done.returncode not in ok:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def clean():
    """A Debian with what reads man pages, completes and knows units, and nothing of ours."""
    if not CLEAN.is_dir():
        partial = CLEAN.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        include = "--include=man-db,bash-completion,systemd"
        run("debootstrap", "--variant=minbase", include, "bookworm", partial, os.environ["COWTRACE_MIRROR"])
        partial.rename(CLEAN)
    return CLEAN


def inside(root, script, ok=(0,)):
    """What a shell in the clean Debian prints. What it mounts goes with it."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    mounted = f"mount -t proc proc /proc; mount -t sysfs sys /sys; {script}"
    return run("unshare", "--mount", "chroot", root, "bash", "-c", mounted, ok=ok, env=environment)


def debian(root):
    """Installed, used, removed."""
    shutil.copy(only("*_amd64.deb"), root / "cowtrace.deb")
    inside(root, "dpkg --install /cowtrace.deb")
    equal("version", inside(root, "cowtrace --version").split()[0], "cowtrace")
    # This kernel may lack what cowtrace needs: doctor says so, row by row or in its error, and ends with 0 or 2.
    doctor = inside(root, "cowtrace doctor", ok=(0, 2))
    if "kernel" not in doctor:
        sys.exit(f"doctor says {doctor!r}")
    for page in ("cowtrace", "cowtrace-agent", "cowtrace-gate"):
        text = inside(root, f"man {page}")
        for heading in ("NAME", "SYNOPSIS", "OPTIONS"):
            if heading not in text:
                sys.exit(f"man {page} has no {heading}: {text}")
    complete = """
        source /usr/share/bash-completion/bash_completion
        _completion_loader cowtrace
        COMP_WORDS=(cowtrace do) COMP_CWORD=1 COMP_LINE='cowtrace do' COMP_POINT=11
        _cowtrace cowtrace do cowtrace
        echo "${COMPREPLY[@]}"
    """
    equal("what do<tab> becomes", inside(root, complete).split(), ["doctor"])
    said = inside(root, "systemd-analyze verify /usr/lib/systemd/system/cowtrace-agent.service", ok=(0, 1))
    equal("what systemd says of the unit", [line for line in said.splitlines() if "cowtrace" in line], [])
    booted(root)
    inside(root, "dpkg --purge cowtrace")
    equal("what is left", inside(root, "find / -xdev -name '*cowtrace*' -not -path '/var/*' -not -path /cowtrace.deb"), "")


# Run by systemd in the guest. It ends with the guest, and what it prints is what is looked at.
TRY = r"""#!/bin/bash
get() { exec 3<>/dev/tcp/127.0.0.1/9435 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3; exec 3<&-; }
of_unit() { systemctl show cowtrace-agent --property "$1" --value; }
systemctl start cowtrace-agent; echo "start $?"
cowtrace provoke io-uring/4k/dontneed --hold 3 >/dev/null
until get | grep -q '^cowtrace_findings_total{verdict="lost"'; do sleep 0.2; systemctl is-active -q cowtrace-agent || break; done
get | grep -E '^cowtrace_(blind_spots|findings_total.verdict="lost")'
grep CapEff /proc/$(of_unit MainPID)/status
echo "root $(stat -c %u /proc/$(of_unit MainPID) | grep -cx 0)"
sleep 35 # Longer than WatchdogSec: it has been asked since.
echo "then $(systemctl is-active cowtrace-agent)"
systemctl stop cowtrace-agent; echo "stop $? $(of_unit Result) $(of_unit NRestarts)"
cowtrace replay --format json /var/lib/cowtrace/*finding* | grep -o '"kind":"io_uring","found":"sure"' | sort -u
journalctl --unit cowtrace-agent --no-pager --output cat
echo "recordings $(ls /var/lib/cowtrace/*.cow | wc -l)"
date -s '+31 days' >/dev/null
systemd-tmpfiles --clean
echo "recordings a month later $(ls /var/lib/cowtrace | wc -l)"
"""

# In what it sealed.
OWNER = '"kind":"io_uring","found":"sure"'

UNIT = """[Unit]
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/try
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
"""


def booted(root):
    """systemd itself runs the installed unit, in a guest: confined as it is, it traces, finds, and ends when told to."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        there = folder / "root"
        run("cp", "--archive", root, there)
        (there / "try").write_text(TRY)
        (there / "try").chmod(0o755)
        (there / "etc/systemd/system/try.service").write_text(UNIT)
        (there / "init").symlink_to("lib/systemd/systemd")
        initramfs = folder / "initramfs"
        run("sh", "-c", f"find . -print0 | cpio --null --create --format=newc --quiet >{initramfs}", cwd=there)
        shutil.rmtree(there)
        said, console = folder / "said", folder / "console"
        machine = [*os.environ["COWTRACE_QEMU"].split(), "-smp", "2", "-m", "3072", "-initrd", initramfs]
        words = "console=ttyS0 quiet panic=-1 tsc=reliable systemd.unit=multi-user.target systemd.wants=try.service"
        serial = ["-serial", f"file:{console}", "-serial", f"file:{said}"]
        run(*machine, "-kernel", os.environ["COWTRACE_KERNEL"], "-append", words, *serial, timeout=600)
        text = said.read_text().replace("\r", "")
    lines = text.splitlines()
    wanted = ["start 0", "cowtrace_blind_spots 0", "CapEff:\t0000000000000000", "root 0", "then active",
              "stop 0 success 0", OWNER, "recordings a month later 0"]
    for line in wanted:
        if line not in lines:
            sys.exit(f"the agent under systemd has no {line!r}: {text}")
    equal("recordings that are removed some day", "recordings 0" in lines, False)
    [found] = [line for line in lines if line.startswith("cowtrace_findings_total")]
    equal("lost pages under systemd", found.split()[-1], "1")


def rpm():
    """Intact, and with the same files as the .deb where both have one."""
    package = only("*.x86_64.rpm")
    if "digests OK" not in (said := run("rpm", "--checksig", "--nosignature", package)):
        sys.exit(said)
    files = run("rpm", "--query", "--list", "--package", package).split()
    for file in ("/usr/bin/cowtrace", "/usr/share/man/man1/cowtrace-agent.1.gz",
                 "/usr/lib/systemd/system/cowtrace-agent.service", "/usr/share/licenses/cowtrace/LICENSE-MIT"):
        if file not in files:
            sys.exit(f"the .rpm has no {file}: {files}")
    with tempfile.TemporaryDirectory() as root:
        run("rpm", "--root", root, "--install", "--nodeps", "--noscripts", package)
        run("rpm", "--root", root, "--verify", "--nodeps", "cowtrace")
        equal("version", run(f"{root}/usr/bin/cowtrace", "--version").split()[0], "cowtrace")


def documents():
    """Man pages that mandoc has nothing to warn of, bills of materials that meet the schema, checksums that agree."""
    with tempfile.TemporaryDirectory() as folder:
        run("tar", "-xf", only("*-x86_64-linux.tar.gz"), "-C", folder)
        pages = glob.glob(f"{folder}/*/man/man1/*.1")
        assert len(pages) > 10, pages
        run("mandoc", "-T", "lint", "-W", "error", *pages)
    bills = list(DIST.glob("*.cdx.json"))
    for bill in bills:
        text = bill.read_text()
        if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
            sys.exit(f"{bill}: {error}")
        names = {component["name"] for component in json.loads(text)["components"]}
        equal("crates that are in the binary", {"aya", "aya-ebpf", "clap"} - names, set())
        equal("crates that are not", {"divan", "proptest", "clap_mangen", "syn"} & names, set())
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=DIST)


def source():
    """The source package builds with stable Rust alone; refuses another object; and makes the same one itself."""
    with tempfile.TemporaryDirectory() as folder:
        run("tar", "-xf", only("*-src.tar.gz"), "-C", folder)
        [root] = pathlib.Path(folder).iterdir()
        prebuilt = root / "cowtrace/prebuilt"
        object = prebuilt / "cowtrace-x86_64.bpf.o"
        wanted = hashlib.sha256(object.read_bytes()).hexdigest()
        # A PATH with cargo and a C compiler, and neither bpf-linker nor rustup's proxies to other toolchains.
        stable = pathlib.Path(run("rustc", "--print", "sysroot").strip()) / "bin"
        plain = os.environ | {"PATH": f"{stable}:/usr/local/bin:/usr/bin:/bin", "COWTRACE_EBPF_TOOLCHAIN": "none"}
        equal("bpf-linker on that PATH", shutil.which("bpf-linker", path=plain["PATH"]), None)
        check = ("cargo", "check", "--quiet", "--locked", "--package", "cowtrace", "--target-dir", f"{folder}/target")
        run(*check, cwd=root, env=plain)

        def refused(file):
            before = file.read_bytes()
            file.write_bytes(before + b"\n")
            said = run(*check, cwd=root, env=plain, ok=(101,))
            file.write_bytes(before)
            if "is not the one that" not in said:
                sys.exit(f"with another {file}: {said}")

        refused(object)
        refused(root / "cowtrace-ebpf/src/main.rs")
        shutil.rmtree(prebuilt)
        run(*check, cwd=root)
        built = pathlib.Path(folder).glob("target/debug/build/cowtrace-*/out/cowtrace.bpf.o")
        newest = max(built, key=lambda path: path.stat().st_mtime)
        equal("the object built in another directory", hashlib.sha256(newest.read_bytes()).hexdigest(), wanted)


documents()
rpm()
with tempfile.TemporaryDirectory() as temporary:
    root = pathlib.Path(temporary) / "root"
    run("cp", "--archive", clean(), root)
    debian(root)
source()
