"""Gives every test that asks for `python` each interpreter in turn, or, if it is marked `few`, a few of them."""
import interpreters

# The ways in which CPython keeps its frames: as objects, as structs found by way of the C stack, as structs of the
# thread.
FEW = ((3, 8), (3, 11), (3, 13))


def pytest_configure(config):
    config.addinivalue_line("markers", "few: runs under an interpreter of each kind, not under all")


def few(found):
    kinds = {each.version[:2]: each for each in found}
    return [kinds[kind] for kind in FEW if kind in kinds] or found[-1:]


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        found = interpreters.find()
        if metafunc.definition.get_closest_marker("few"):
            found = few(found)
        metafunc.parametrize("python", found, ids=repr, scope="session")
