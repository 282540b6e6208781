"""Completion in bash and zsh: it proposes what --help tells, for every command."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from support import BUILD, memline

SHARE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "share")
PATH = os.path.abspath(BUILD) + os.pathsep + os.environ["PATH"]

VALUES = {
    ("export", "--format"): {"folded", "speedscope", "pprof", "json", "csv"},
    ("export", "--metric"): {"live", "peak", "allocated", "allocations", "increment"},
    ("diff", "--metric"): {"live", "peak", "allocated", "allocations", "increment"},
    ("diff", "--by"): {"line", "stack"},
    ("report", "--end"): {"last"},
}


def commands():
    text = memline("--help").partition("Commands:\n")[2]
    return re.findall(r"^  ([a-z]+) ", text, re.M)


def options(command):
    """The long options that it has; with = where they have to have a value."""
    text = memline(command, "--help", ARGP_HELP_FMT="rmargin=500")
    return set(re.findall(r"^ *(?:-., )?(--[a-z-]+=?)", text, re.M))


def bash(*words):
    """What is proposed for the last word."""
    script = ('source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _memline; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SHARE, "bash-completion/completions/memline"),
                           "memline", *words], stdout=subprocess.PIPE, env=dict(os.environ, PATH=PATH), check=True)
    return set(done.stdout.decode().split())


def test_bash_commands_and_options():
    assert bash("") == set(commands())
    assert bash("ex") == {"export"}
    for command in commands():
        assert bash(command, "-") == options(command), command
    assert bash("report", "--js") == {"--json"}


def test_bash_values():
    for (command, option), values in VALUES.items():
        assert bash(command, option, "=", "") == bash(command, option, "=") == bash(command, option, "") == values
    assert bash("export", "--format", "=", "sp") == {"speedscope"}
    # Nothing is proposed where bash shall propose files.
    assert bash("report", "") == bash("pack", "--output", "=", "") == set()
    assert "python3" in bash("run", "pyth")


def test_values_are_taken(tmp_path):
    for (command, option), values in VALUES.items():
        for value in values:
            traces = ["/nonexistent"] * (2 if command == "diff" else 1)
            needed = ["--format=csv"] if command == "export" and option != "--format" else []
            memline(command, f"{option}={value}", *needed, *traces, status=1)  # and not 2: usage


class Zsh:
    """An interactive one, to which keys are typed."""

    def __init__(self, home):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            environment = {"PATH": PATH, "TERM": "dumb", "HOME": str(home), "PS1": "", "COLUMNS": "200", "LC_ALL": "C"}
            os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
        self.run("stty cols 200; unsetopt zle_bracketed_paste; setopt no_beep no_list_ambiguous; LISTMAX=1000; "
                 f"fpath=({SHARE}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D")

    def read(self, until, seconds=20):
        text, end = "", time.monotonic() + seconds
        while until not in text and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.2)[0]:
                text += os.read(self.fd, 65536).decode(errors="replace")
        assert until in text, text
        return text

    def run(self, command):
        os.write(self.fd, f"{command}; echo re''ady\n".encode())
        return self.read("ready\r\n")

    def complete(self, line, *expected):
        """Types the line and Tab, waits for the last of what is expected on the screen, and wipes the line out."""
        os.write(self.fd, f"{line}\t".encode())
        text = self.read(expected[-1])
        for each in expected:
            assert each in text, text
        os.write(self.fd, b"\x15")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def zsh(tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    shell = Zsh(tmp_path)
    yield shell
    shell.close()


def test_zsh(zsh):
    zsh.complete("memline exp", "memline export ")
    zsh.complete("memline export --form", "memline export --format=")
    zsh.complete("memline export --format=spe", "memline export --format=speedscope ")
    zsh.complete("memline export --format spe", "memline export --format speedscope ")
    zsh.complete("memline export --metric=", *sorted(VALUES["export", "--metric"]))
    zsh.complete("memline ", *(f"\n{command} " for command in sorted(commands())))
    zsh.complete("memline export --", *(f"\n{option} " for option in sorted(options("export"))))
