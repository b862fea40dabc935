"""A headless Chromium, driven over its DevTools protocol, which needs no more than a WebSocket."""

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WITHIN_S = 20.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Page:
    """`said` is what the page and the browser complained of, `asked` every URL that was asked for."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.said: list[str] = []
        self.asked: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                break
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self._hear(told["method"], told["params"])

    def _hear(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning", "assert"}:
            self.said.append(" ".join(str(each.get("value")) for each in told["args"]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
            self.said.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Audits.issueAdded":
            self.said.append(str(told["issue"]))

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, WITHIN_S)
        assert "error" not in told, f"{method}: {told['error']}"
        return told["result"]

    async def go(self, url: str) -> None:
        await self.do("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    async def js(self, expression: str) -> Any:
        """The value of an expression, which may be a promise."""
        told = await self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression: str) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                while not await self.js(expression):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.js("document.body.innerText")
            raise AssertionError(f"never so: {expression}\n{text}\n{self.said}\n{self.asked[-5:]}") from None

    async def press(self, key: str, text: str = "", code: int = 0) -> None:
        for type_ in ("keyDown", "keyUp"):
            about = {"text": text} if text and type_ == "keyDown" else {}
            await self.do(
                "Input.dispatchKeyEvent", type=type_, key=key, code=key, windowsVirtualKeyCode=code, **about
            )

    async def write(self, text: str) -> None:
        await self.do("Input.insertText", text=text)

    async def size(self, width: int, height: int, scale: float = 1) -> None:
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    async def prefer(self, **features: str) -> None:
        """Media features, `_` for `-`."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.do("Emulation.setEmulatedMedia", features=told)

    async def picture(self, path: Path) -> None:
        shot = await self.do("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def tree(self) -> list[dict[str, Any]]:
        """What a screen reader gets."""
        nodes = (await self.do("Accessibility.getFullAXTree"))["nodes"]
        return [each for each in nodes if not each.get("ignored")]


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A fresh browser with one page; `folder` is for its profile."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        f"--user-data-dir={folder}",
        *_FLAGS,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(folder / "DevToolsActivePort")
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                async with asyncio.TaskGroup() as group:
                    hearing = group.create_task(page.listen())
                    for domain in ("Page", "Runtime", "Network", "Log", "Audits", "Accessibility"):
                        await page.do(f"{domain}.enable")
                    yield page
                    hearing.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _port(path: Path) -> int:
    async with asyncio.timeout(WITHIN_S):
        while not path.exists() or not path.read_text().partition("\n")[0].isdigit():
            await asyncio.sleep(0.05)
    return int(path.read_text().partition("\n")[0])
