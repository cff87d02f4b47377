"""The smallest value that a JSON schema takes; enough for the tools and the side questions of agents."""


def instance(schema, hints=None, name=""):
    """`hints`: property name -> value, used wherever a property of that name is found."""
    hints = hints or {}
    if not isinstance(schema, dict):
        return "x"
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return instance(schema[key][0], hints, name)
    typ = schema.get("type")
    if isinstance(typ, list):
        typ = typ[0]
    typ = (typ or ("object" if "properties" in schema else "string")).lower()
    if typ == "object":
        out = {}
        for k, s in (schema.get("properties") or {}).items():
            if k in hints:
                out[k] = hints[k]
            elif k in (schema.get("required") or []):
                out[k] = instance(s, hints, k)
        return out
    return {"string": "x", "integer": 1, "number": 1, "boolean": False, "array": [], "null": None}.get(typ, "x")
