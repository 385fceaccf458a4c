"""Whether a JSON value is what the OpenAPI document says, as far as ours uses it (OpenAPI 3.0.3, section 4.7.24)."""

import re

TYPES = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}


def complaints(document, schema, value, where="the answer"):
    """What is not as the schema says, as sentences."""
    if "$ref" in schema:
        schema = resolve(document, schema["$ref"])
    for part in schema.get("allOf", []):
        yield from complaints(document, part, value, where)
    if value is None and schema.get("nullable"):
        return
    if kind := schema.get("type"):
        if not isinstance(value, TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
            yield f"{where}: expected {kind}, found {value!r:.60}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: expected one of {schema['enum']}, found {value!r}"
    if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
        yield f"{where}: {value} is out of its bounds"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{where}: {value!r} does not match {schema['pattern']}"
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from complaints(document, schema["items"], item, f"{where}[{number}]")
    if isinstance(value, dict):
        yield from of_object(document, schema, value, where)


def of_object(document, schema, value, where):
    known = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where}: {name} is missing"
    for name, item in value.items():
        if name in known:
            yield from complaints(document, known[name], item, f"{where}.{name}")
        elif more is False:
            yield f"{where}: {name} is not in the document"
        elif isinstance(more, dict):
            yield from complaints(document, more, item, f"{where}.{name}")


def resolve(document, reference):
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def response(document, method, path, status):
    """The schema of that answer; None where it is no JSON. Raises where the document has no such answer."""
    operation = document["paths"][path][method.lower()]
    told = operation["responses"].get(str(status))
    if told is None:
        raise AssertionError(f"{method} {path}: {status} is not in the document, which has {sorted(operation['responses'])}")
    return told.get("content", {}).get("application/json", {}).get("schema")
