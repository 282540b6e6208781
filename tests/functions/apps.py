"""Apps for the worker, each in a folder of its own, and what memline reports of them."""
import json
import os
import shutil
import tempfile

from support import LIBRARY, Process, Row, TAG, SCRATCH, memline

HERE = os.path.dirname(os.path.abspath(__file__))

LEAKING = ("LeakingList", "LeakingCache", "LeakingClosure", "BigAcrossAwait")
HOWTO = ("HttpTriggerAsync", "HttpTriggerSync")


class App:
    """A copy of one of the apps beside this file, with what it imports, and the traces of its workers beside it.

    Both are in a folder `home`; unless it is given they go when the tests end."""

    def __init__(self, name, worker, model="v1", home=None):
        home = home or tempfile.mkdtemp(dir=SCRATCH.name)
        self.path = os.path.join(home, "wwwroot")
        self.traces_folder = os.path.join(home, "traces")
        shutil.copytree(os.path.join(HERE, name if model == "v1" else f"{name}_{model}"), self.path,
                        ignore=shutil.ignore_patterns("__pycache__"))
        packages = os.path.join(self.path, ".python_packages/lib")
        os.makedirs(packages)
        os.symlink(worker.app_packages, os.path.join(packages, "site-packages"))

    def files(self):
        """What is in its folder, but for the packages: paths below it."""
        found = set()
        for folder, folders, names in os.walk(self.path):
            found.update(os.path.relpath(os.path.join(folder, name), self.path) for name in folders + names)
        return found

    @property
    def traces(self):
        return sorted(os.listdir(self.traces_folder)) if os.path.isdir(self.traces_folder) else []

    def report(self, *options, trace=None):
        """Each process of the newest run, or of a trace (a file name or a pid)."""
        if trace is None:
            where = self.traces_folder
        else:
            where = trace if isinstance(trace, int) else os.path.join(self.traces_folder, trace)
        text = memline("report", "--json", *options, where, MEMLINE_DIR=self.traces_folder)
        return [Table(each, self) for each in json.loads(text)["processes"]]

    def invocations(self, *options):
        """What is reported of the newest run's one process by invocation: entry functions by (file below the app's
        folder, name)."""
        text = memline("report", "--json", "--by", "invocation", *options, self.traces_folder)
        (process,) = json.loads(text)["processes"]
        return {(os.path.relpath(each["file"], self.path), each["name"]): each for each in process["invocations"]}

    def table(self, *options, **more):
        (table,) = self.report(*options, **more)
        return table


def tags_of(folder):
    """(file, line number) by tag: see tests/e2e/support.py."""
    tags = {}
    for where, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each != ".python_packages"]
        for path in [os.path.join(where, name) for name in names if name.endswith(".py")]:
            with open(path, encoding="utf-8") as text:
                found = [(TAG.search(line.rstrip()), number) for number, line in enumerate(text, 1)]
            tags.update({tag.group(1): (path, number) for tag, number in found if tag})
    return tags


class Table(Process):
    """What is reported of a process that ran an app."""

    def __init__(self, data, app):
        self.data = data
        self.totals = data["totals"]
        self.warnings = data["warnings"]
        self.app = app
        self.tags = tags_of(app.path)
        self.check_sums()

    @property
    def rows(self):
        return {tag: self.row(*place) for tag, place in self.tags.items()}

    def row(self, file, number):
        found = [line for each, _, line in self.lines() if each == file and line["line"] == number]
        assert len(found) < 2, f"{file}:{number} belongs to {len(found)} functions"
        return Row(*found)

    @property
    def files(self):
        return {each["file"] for each in self.data["functions"]}

    def names(self, *path):
        """The functions of a file of the app that have a row."""
        file = os.path.join(self.app.path, *path)
        return {each["name"] for each in self.data["functions"] if each["file"] == file}


def start(host, worker, app, recorded=True, env=None, **more):
    """Has a host start the worker with an app, under the preload."""
    settings = dict({"PYTHON_THREADPOOL_THREAD_COUNT": "8"}, **(env or {}))
    if recorded:
        settings["MEMLINE_DIR"] = app.traces_folder
    return host.start(worker, app.path, env=settings, preload=LIBRARY if recorded else None, **more)
