"""Options and the shared world of the Python suite."""

import sys

import pytest

import harness


def pytest_addoption(parser):
    parser.addoption("--direct", action="store_true", help="no gateway: each SDK talks to the scripted upstream in its own dialect")
    parser.addoption("--only", default="", help="CLIENT, CLIENT:UPSTREAM or :UPSTREAM, by dialect name")
    parser.addoption("--part", default="0/1", metavar="K/N", help="the K-th of N parts of all pairs, counted from 0")


def pytest_configure(config):
    # what the SDKs say about their own models and models' types is none of this suite's business
    config.addinivalue_line("filterwarnings", "ignore")


def pytest_generate_tests(metafunc):
    if "pair" not in metafunc.fixturenames:
        return
    direct = metafunc.config.getoption("--direct")
    client, _, up = metafunc.config.getoption("--only").partition(":")
    pairs = [
        (c, u)
        for c in harness.DIALECTS
        for u in harness.DIALECTS
        if (not direct or c == u) and (not client or c == client) and (not up or u == up)
    ]
    part, parts = map(int, metafunc.config.getoption("--part").split("/"))
    pairs = pairs[part::parts]
    metafunc.parametrize("pair", pairs, ids=[f"{c}-{u}" for c, u in pairs])


@pytest.fixture(scope="session")
def world(request):
    w = harness.World(request.config.getoption("--direct"))
    try:
        w.base()
    except RuntimeError as e:
        w.close()
        pytest.exit(str(e), returncode=1)
    yield w
    alive = w.alive()
    if not alive:
        print("a gateway died:\n" + w.log(), file=sys.stderr)
    w.close()
    assert alive, "a gateway died during the suite"
