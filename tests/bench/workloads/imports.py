"""What a program does before it begins: it imports, here many modules of the standard library."""
import asyncio, concurrent.futures, ctypes, decimal, email.message, fractions, http.server, logging.config, sqlite3
import multiprocessing.pool, pickle, ssl, statistics, tarfile, unittest.mock, urllib.request, uuid, xml.dom.minidom
