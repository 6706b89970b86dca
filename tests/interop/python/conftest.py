"""What all interop tests share: stubs generated from proto/, and a real control plane to talk to.

Only published packages and generated code: nothing here knows more of the control plane than any
other program could.
"""

import os
import pathlib
import sys

import pytest
from grpc_tools import protoc

# No byte code beside the sources.
sys.dont_write_bytecode = True

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# Where tests/interop/install puts grpcurl, grpc-health-probe and promtool.
os.environ["PATH"] = f"{TARGET / 'tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"


def generate_stubs():
    """Generates the stubs as any user of Python would, and makes them importable."""
    out = TARGET / "interop" / "python"
    out.mkdir(parents=True, exist_ok=True)
    protos = sorted(str(file) for file in (ROOT / "proto" / "seaworthy" / "v1").glob("*.proto"))
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
    # The well-known types come with grpcio-tools.
    arguments.append(f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}")
    if protoc.main(arguments + protos) != 0:
        pytest.exit("grpc_tools.protoc could not generate stubs from proto/", returncode=1)
    sys.path.insert(0, str(out))


generate_stubs()

from support import Server  # not before the stubs are there: it imports them


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A control plane for all tests of a file: each uses service names of its own."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def own_server(tmp_path):
    """A control plane for one test alone."""
    with Server(tmp_path) as running:
        yield running
