"""check_object.sh accepts an object that is as it should be, and names what is wrong with one that isn't."""
import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))

GOOD = """
#include <stddef.h>
#include <string.h>

static _Thread_local int guard __attribute__((tls_model("initial-exec")));
void *malloc(size_t bytes) { guard++; return (void *)strlen((char *)bytes); }
void free(void *p) { memmove(p, (char *)p + 1, (size_t)guard); }
"""
MAP = "{ global: malloc;\n\tfree; /* the one after it */ local: *; };\n"
OPTIONS = ["-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,noexecstack"]


def check(directory, source=GOOD, options=OPTIONS, exports=MAP, wanted=None):
    """Builds and checks an object; returns what is said of it. exports: of the object; wanted: of the check."""
    for name, text in ("object.c", source), ("exports.map", exports), ("wanted.map", wanted or exports):
        (directory / name).write_text(text)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-fno-builtin", "-fno-stack-protector",
                    "-Wl,--version-script=exports.map", "-o", "object.so", "object.c"] + options,
                   cwd=directory, check=True)
    done = subprocess.run([os.path.join(HERE, "check_object.sh"), "object.so", "wanted.map"], cwd=directory,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == (1 if done.stdout else 0)
    return [line.replace("object.so: ", "", 1) for line in done.stdout.splitlines()]


def test_good(tmp_path):
    assert check(tmp_path) == []


@pytest.mark.parametrize("call, name", [
    ("int puts(const char *); void f(void) { puts(\"\"); }", "puts"),
    ("void *dlsym(void *, const char *); void f(void) { dlsym(0, \"\"); }", "dlsym"),
    ("void *realloc(void *, unsigned long); void f(void) { realloc(0, 1); }", "realloc"),
    ("int open(const char *, int, ...); void f(void) { open(\"\", 0); }", "open"),
])
def test_import(tmp_path, call, name):
    complaints = check(tmp_path, GOOD + call, exports=MAP.replace("free;", "free; f;"))
    assert f"imports what it should not: {name}" in complaints


@pytest.mark.parametrize("version, complaint", [
    ("GLIBC_2.31", None),
    ("GLIBC_2.4", None),
    ("GLIBC_2.32", "asks for a glibc newer than 2.31: memmove@GLIBC_2.32"),
    ("GLIBC_3.0", "asks for a glibc newer than 2.31: memmove@GLIBC_3.0"),
    ("GLIBC_PRIVATE", "asks for a version that is not of glibc: memmove@GLIBC_PRIVATE"),
])
def test_versions(tmp_path, version, complaint):
    """With a libc of our own making."""
    (tmp_path / "libc.c").write_text("void memmove(void) {} void strlen(void) {}")
    (tmp_path / "libc.map").write_text(version + " { global: memmove; strlen; };")
    subprocess.run(["gcc", "-shared", "-fPIC", "-fno-builtin", "-nostdlib", "-Wl,-soname,libc.so.6",
                    "-Wl,--version-script=libc.map", "-o", "libc.so.6", "libc.c"], cwd=tmp_path, check=True)
    complaints = check(tmp_path, options=OPTIONS + ["-nostdlib", "libc.so.6"])
    assert [c for c in complaints if "memmove" in c] == ([complaint] if complaint else [])
    assert not [c for c in complaints if "needs" in c]


def test_library(tmp_path):
    assert check(tmp_path, options=OPTIONS + ["-Wl,--no-as-needed", "-lm"]) == ["needs another library: libm.so.6"]


def test_search_path(tmp_path):
    complaints = check(tmp_path, options=OPTIONS + ["-Wl,-rpath,/opt"])
    assert len(complaints) == 1 and complaints[0].startswith("has a search path")


def test_exports(tmp_path):
    complaints = check(tmp_path, GOOD + "int extra;", exports="{ global: *; };", wanted="{ global: malloc; calloc; };")
    assert sorted(complaints) == ["does not export: calloc", "exports what it should not: extra",
                                  "exports what it should not: free"]


def test_thread_local_storage(tmp_path):
    complaints = check(tmp_path, GOOD.replace("initial-exec", "global-dynamic"))
    assert "reaches thread-local storage by another model than initial-exec" in complaints


def test_relocated_text(tmp_path):
    source = GOOD + "__asm__(\".text\\n.quad malloc\");"
    assert "has relocations in its text" in check(tmp_path, source, OPTIONS + ["-Wl,-z,notext"])


@pytest.mark.parametrize("options, complaint", [
    (["-Wl,-z,lazy", "-Wl,-z,relro", "-Wl,-z,noexecstack"], "is bound lazily: the loader would run inside a hook"),
    (["-Wl,-z,now", "-Wl,-z,norelro", "-Wl,-z,noexecstack"], "leaves its relocated data writable (no RELRO)"),
    (["-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,execstack"], "asks for an executable stack"),
])
def test_link_options(tmp_path, options, complaint):
    assert complaint in check(tmp_path, options=options)


def test_writable_text(tmp_path):
    source = GOOD + "__asm__(\".section .both, \\\"awx\\\"\\n.quad 0\\n.text\");"
    assert "has a segment that is writable and executable" in check(tmp_path, source)


def test_no_object(tmp_path):
    done = subprocess.run([os.path.join(HERE, "check_object.sh"), str(tmp_path / "none.so")], stderr=subprocess.PIPE)
    assert done.returncode == 2
