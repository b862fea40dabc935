import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.peers.environment import installed, package_version, system_program, told_version
from benchmarks.peers.peer import Tools, UnavailableError
from benchmarks.peers.pins import Pin


def wheel(folder, version):
    """A package with nothing in it."""
    path = folder / f"nothing-{version}-py3-none-any.whl"
    info = f"nothing-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: nothing\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_what_is_pinned_is_installed_once_and_anew_where_the_pin_changed(tmp_path):
    tools = Tools(tmp_path / "peers")
    one = Pin("nothing", "1.0", (str(wheel(tmp_path, "1.0")),))

    bin_folder = installed(tools, one)

    assert package_version(bin_folder / "python", "nothing") == "1.0"
    Path(one.requirements[0]).unlink()
    assert installed(tools, one) == bin_folder
    two = Pin("nothing", "2.0", (str(wheel(tmp_path, "2.0")),))
    assert package_version(installed(tools, two) / "python", "nothing") == "2.0"


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        (Pin("nothing", "1.0", ("/no/such.whl",)), "/no/such.whl cannot be installed: .*such.whl"),
        (Pin("nothing", "1.0", ("nothing==1.0",), python=(3, 99)), "needs Python 3.99 or newer"),
    ],
)
def test_why_a_peer_is_not_to_be_had(tmp_path, pin, told):
    with pytest.raises(UnavailableError, match=told):
        installed(Tools(tmp_path), pin)


def test_nothing_is_installed_where_that_is_forbidden(tmp_path):
    with pytest.raises(UnavailableError, match=r"nothing==1.0 is not installed; .*--install"):
        installed(Tools(tmp_path, install=False), Pin("nothing", "1.0", ("nothing==1.0",)))
    assert list(tmp_path.iterdir()) == []


def test_a_program_of_the_system_that_is_not_there():
    with pytest.raises(UnavailableError, match="no no-such-balancer on this machine"):
        system_program("no-such-balancer")


def test_a_version_is_told_on_either_stream_or_not_at_all():
    for stream in ("stdout", "stderr"):
        command = (sys.executable, "-c", f"import sys; sys.{stream}.write('thing/1.2 x')")
        assert told_version(command, r"thing/(\S+)") == "1.2"
    assert told_version(("no-such-program",), ".*") is None
