"""Imports in a fresh process: code objects, dictionaries, shared objects. numpy and pandas too where they are there."""
import importlib
import sys

MODULES = """
    abc argparse array ast asyncio base64 bdb binascii bisect bz2 calendar cmath cmd codeop codecs collections.abc
    colorsys concurrent.futures configparser contextlib contextvars copy copyreg csv ctypes dataclasses datetime
    decimal difflib dis doctest email.message email.mime.text email.parser email.policy enum filecmp fileinput
    fnmatch fractions ftplib functools getopt getpass gettext glob gzip hashlib heapq hmac html html.parser
    http.client http.cookies http.server imaplib inspect io ipaddress itertools json keyword linecache locale
    logging logging.config logging.handlers lzma mailbox mimetypes multiprocessing multiprocessing.pool numbers
    operator optparse os pathlib pdb pickle pkgutil platform plistlib poplib pprint profile pydoc queue quopri
    random re sched secrets selectors shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl stat
    statistics string struct subprocess symtable sysconfig tarfile tempfile textwrap threading timeit tokenize trace
    traceback types typing unittest unittest.mock urllib.error urllib.parse urllib.request uuid warnings wave
    weakref webbrowser xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipfile zoneinfo numpy numpy.ma
    numpy.polynomial numpy.testing pandas pandas.api.types pandas.io.formats.style pandas.plotting
    pandas.tseries.offsets
""".split()


def main(scale):
    """All of them from a scale of a half on: a module is loaded once."""
    found = 0
    for name in MODULES[:max(1, int(min(1.0, scale * 2) * len(MODULES)))]:
        try:
            importlib.import_module(name)
            found += 1
        except ImportError:
            pass
    return found


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
