"""Reflection: everything that is served is described, with its comments and working examples.

The published Python client speaks v1alpha; grpcurl, in its own file, speaks v1.
"""

import json
import re

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# Numbers of fields in descriptor.proto, of which source locations are made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS, METHODS, VALUES = 2, 3, 4, 2, 2


@pytest.fixture(scope="module")
def files(server):
    """Every file that describes a served service of ours, or that such a file imports."""
    database = ProtoReflectionDescriptorDatabase(server.channel)
    names = [name for name in database.get_services() if name.startswith(("seaworthy.", "grpc.health."))]
    found = {}
    waiting = [database.FindFileContainingSymbol(name) for name in names]
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found[file.name] = file
            waiting += [database.FindFileByName(name) for name in file.dependency]
    return {name: file for name, file in found.items() if not name.startswith("google/")}


def comments(file):
    """Comments by the path of what they stand before."""
    return {tuple(l.path): l.leading_comments for l in file.source_code_info.location if l.leading_comments.strip()}


def elements(file):
    """Path and name of everything in a file that should have a comment."""

    def enum(path, found):
        yield path, found.name
        for number, value in enumerate(found.value):
            yield (*path, VALUES, number), f"{found.name}.{value.name}"

    def message(path, found):
        if found.options.map_entry:
            return
        yield path, found.name
        for number, field in enumerate(found.field):
            yield (*path, FIELDS, number), f"{found.name}.{field.name}"
        for number, nested in enumerate(found.nested_type):
            yield from message((*path, NESTED, number), nested)
        for number, nested in enumerate(found.enum_type):
            yield from enum((*path, NESTED_ENUMS, number), nested)

    for number, found in enumerate(file.message_type):
        yield from message((MESSAGES, number), found)
    for number, found in enumerate(file.enum_type):
        yield from enum((ENUMS, number), found)
    for number, found in enumerate(file.service):
        yield (SERVICES, number), found.name
        for place, method in enumerate(found.method):
            yield (SERVICES, number, METHODS, place), f"{found.name}.{method.name}"


def test_everything_is_commented(files):
    assert "seaworthy/v1/fleet_service.proto" in files
    total, bare = 0, []
    for file in files.values():
        known = comments(file)
        for path, name in elements(file):
            total += 1
            if path not in known:
                bare.append(f"{file.name}: {name}")
    assert total > 300
    assert bare == []


def test_every_example_is_a_request(files, server):
    """`Example: {…}` in an RPC's comment has to be JSON of its request: people paste it into grpcurl."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(server.channel))
    tried = 0
    for file in files.values():
        known = comments(file)
        for number, service in enumerate(file.service):
            for place, method in enumerate(service.method):
                text = " ".join(known[(SERVICES, number, METHODS, place)].split())
                example = re.search(r"Example: (\{.*\})", text)
                assert example, f"{service.name}.{method.name} has no example"
                request = message_factory.GetMessageClass(
                    pool.FindMessageTypeByName(method.input_type.removeprefix("."))
                )
                json_format.ParseDict(json.loads(example.group(1)), request())
                tried += 1
    assert tried > 20
