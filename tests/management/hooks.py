"""Has requests come from several administrators, so that the rate of one is no limit, and lead to what is there."""

import itertools
import os

import schemathesis

KEYS = itertools.cycle(os.environ["FLOW_ROUTER_KEYS"].split(","))
TURNS = itertools.count()
# Entries that the test has made, by the chapter of the path.
KNOWN = ("/api/providers/", "/api/combos/", "/api/keys/", "/api/tags/")


@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers = dict(case.headers or {}, Authorization=f"Bearer {next(KEYS)}")
    # Every second request for an entry is for one that exists; nothing is removed that way.
    parameters = case.path_parameters or {}
    if "id" in parameters and case.method != "DELETE" and case.path.startswith(KNOWN) and next(TURNS) % 2 == 0:
        negative = case.meta is not None and any(
            "path" in str(place) and data.mode.is_negative for place, data in case.meta.components.items()
        )
        if not negative:
            parameters["id"] = "name:known"
