"""A /proc in which processes listen on ports, and others descend from them."""


class FakeProc:
    def __init__(self, folder):
        self.path = folder
        self._lines = []
        (folder / "self/net").mkdir(parents=True)

    def add(self, pid, port=None, parent=1):
        (self.path / str(pid) / "fd").mkdir(parents=True)
        (self.path / str(pid) / "stat").write_text(f"{pid} (vllm) S {parent} 1\n")
        if port is not None:
            inode = 1000 + len(self._lines)
            self._lines.append(f"0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 {inode}\n")
            (self.path / str(pid) / "fd/3").symlink_to(f"socket:[{inode}]")
        (self.path / "self/net/tcp").write_text("head\n" + "".join(self._lines))
