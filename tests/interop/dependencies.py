"""Checks every Rust dependency against the rules in deny.toml: licence, source, duplicates.

Reads `cargo metadata --format-version 1` on standard input; the first argument is deny.toml. With the
second, `--part`, it is a workspace beside the main one, which need not have all that is excused. It keeps
three of cargo-deny's rules without cargo-deny. It does not know of vulnerabilities, and not of the
parts of deny.toml that it does not read.
"""

import collections
import json
import re
import sys
import tomllib


def licence_allowed(expression, allowed):
    """Whether an SPDX expression can be satisfied by the allowed licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def any_of():
        satisfied = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            satisfied |= all_of()
        return satisfied

    def all_of():
        satisfied = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            satisfied &= one()
        return satisfied

    def one():
        token = tokens.pop(0)
        if token == "(":
            satisfied = any_of()
            if tokens.pop(0) != ")":
                raise ValueError(f"unbalanced parentheses in {expression!r}")
            return satisfied
        if tokens and tokens[0] == "WITH":
            token = f"{token} {tokens.pop(0)} {tokens.pop(0)}"
        return token in allowed

    satisfied = any_of()
    if tokens:
        raise ValueError(f"cannot read licence expression {expression!r} from {tokens[0]!r} on")
    return satisfied


def same_version(full, prefix):
    """Whether `0.15.5` is covered by `0.15`."""
    return full == prefix or full.startswith(prefix + ".")


def problems(metadata, rules, is_part=False):
    """Every violation, as a sentence."""
    allowed = set(rules["licenses"]["allow"])
    excepted = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    skipped = [entry["crate"].split("@") for entry in rules["bans"]["skip"]]
    versions = collections.defaultdict(set)

    for package in metadata["packages"]:
        name, version = package["name"], package["version"]
        versions[name].add(version)
        licence = package["license"]
        if not licence:
            yield f"{name} {version} names no licence"
        elif not licence_allowed(licence, allowed | excepted.get(name, set())):
            yield f"{name} {version} has the licence {licence}, which deny.toml does not allow"
        source = package["source"]
        if source is not None and not source.startswith("registry+"):
            yield f"{name} {version} comes from {source}, not from the default registry"
        # A dependency on the default registry leaves `registry` empty.
        for dependency in package["dependencies"]:
            if dependency.get("registry") and source is None:
                yield f"{name} takes {dependency['name']} from another registry"

    for name, version in skipped:
        if not is_part and not any(same_version(found, version) for found in versions[name]):
            yield f"deny.toml excuses {name} {version}, which is not used any more: remove the entry"
    for name, found in versions.items():
        kept = {v for v in found if not any(name == n and same_version(v, p) for n, p in skipped)}
        if len(kept) > 1:
            yield f"{name} occurs in versions {', '.join(sorted(kept))}: use one, or excuse one in deny.toml"


def prove_itself():
    """Refuses to run with a licence reader that lets the wrong thing through."""
    allowed = {"MIT", "Apache-2.0"}
    for expression, expected in [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT/GPL-3.0-only", True),
        ("(MIT OR GPL-3.0-only) AND Apache-2.0", True),
        ("MIT AND (GPL-3.0-only OR ISC)", False),
        ("MIT OR GPL-3.0-only AND ISC", True),
        ("Apache-2.0 WITH LLVM-exception", False),
    ]:
        if licence_allowed(expression, allowed) is not expected:
            sys.exit(f"the licence check is broken: it should answer {expected} to {expression!r}")
    stranger = {"name": "x", "version": "1.0.0", "license": "MIT", "source": "git+file:///x", "dependencies": []}
    rules = {"licenses": {"allow": ["MIT"]}, "bans": {"skip": []}}
    if not list(problems({"packages": [stranger]}, rules)):
        sys.exit("the source check is broken: it lets a git dependency through")
    rules["bans"]["skip"] = [{"crate": "z@1"}]
    for is_part, expected in [(False, 1), (True, 0)]:
        if len(list(problems({"packages": []}, rules, is_part))) != expected:
            sys.exit("the check of excuses is broken: one that is not needed is to be told, but of a part")
    rules["bans"]["skip"] = []
    found = [{**stranger, "name": name, "license": "ISC", "source": None} for name in ["x", "y"]]
    rules["licenses"]["exceptions"] = [{"crate": "x", "allow": ["ISC"]}]
    if [problem.split()[0] for problem in problems({"packages": found}, rules)] != ["y"]:
        sys.exit("the licence check is broken: an exception has to hold for its crate, and for no other")


def main():
    prove_itself()
    with open(sys.argv[1], "rb") as file:
        rules = tomllib.load(file)
    metadata = json.load(sys.stdin)
    found = list(problems(metadata, rules, is_part=sys.argv[2:] == ["--part"]))
    for problem in found:
        print(problem)
    print(f"{len(metadata['packages'])} packages checked, {len(found)} problems")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
