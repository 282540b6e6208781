"""Gives every test that asks for `python` each interpreter in turn."""
import interpreters


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        found = [each for each in interpreters.find() if not each.free_threaded]
        metafunc.parametrize("python", found, ids=repr, scope="session")
