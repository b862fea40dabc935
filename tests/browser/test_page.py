"""The live page in headless Chromium, in front of a live demo. scripts/test-browser runs it."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from tests.browser.scene import EVIL, scene, talk
from tests.fakes.chromium import chromium
from tests.fakes.loops import async_test
from tests.fakes.nvml import FakeNvml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

KEY = "the-admins-own-key"
PICTURES = os.environ.get("BROWSER_PICTURES")
ROWS = "document.querySelectorAll('#decision-rows tr').length"
FINISHED = (
    "[...document.querySelectorAll('#decision-rows tr')].some((row) => row.lastChild.textContent === '200')"
)


@contextlib.asynccontextmanager
async def opened(tmp_path, front):
    """The page, from a listener that no other page may speak for; at the end nothing was asked of anybody else."""
    async with chromium(tmp_path / "profile") as page:
        origin = f"http://127.0.0.1:{front.balancer.listeners.ports[-1]}"
        await page.go(f"{origin}/ui")
        yield page
        strangers = [url for url in page.asked if not url.startswith((origin, "about:"))]
        assert strangers == []


async def pictured(page, name):
    if PICTURES is not None:
        await page.picture(Path(PICTURES) / f"{name}.png")


CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@async_test
async def test_it_shows_what_goes_on_and_whom_it_happens_to(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page, talk(front):
        await page.until(f"{ROWS} > 10 && {FINISHED}")
        names = "[...document.querySelectorAll('#replica-rows button')].map((each) => each.textContent)"
        assert await page.js(names) == [f"gpu-{letter}:8000" for letter in "abcde"]
        assert await page.js("document.getElementById('link').textContent") == "live"
        await page.until(
            "document.querySelectorAll('#replica-rows svg.spark path.p50[d*=\"M\"]').length >= 3"
        )
        assert "small" in await page.js("document.getElementById('tier-rows').textContent")
        # names that clients and engines gave themselves stand there, and do nothing
        assert EVIL in await page.js("document.getElementById('decision-rows').textContent")
        assert await page.js("document.images.length") == 0
        assert await page.js("document.title") == "Balancer"
        assert page.said == []


@async_test
async def test_it_is_used_by_keyboard_alone(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page, talk(front):
        await page.until(f"{ROWS} > 10 && {FINISHED}")
        focused = "document.activeElement.textContent"
        await page.press("Tab", code=9)
        assert await page.js(focused) == "Skip to replicas"
        await page.press("Enter", "\r", 13)
        await page.press("Tab", code=9)
        assert await page.js(focused) == "gpu-a:8000"
        await page.press("ArrowDown", code=40)
        await page.press("ArrowDown", code=40)
        assert await page.js(focused) == "gpu-c:8000"
        await page.press("End", code=35)
        assert await page.js(focused) == "gpu-e:8000"
        await page.press("Enter", "\r", 13)
        await page.until("document.getElementById('details').open")
        assert EVIL in await page.js("document.getElementById('details-body').textContent")
        await page.press("Escape", code=27)
        await page.until("!document.getElementById('details').open")
        assert await page.js(focused) == "gpu-e:8000"
        # on to the decisions: a row that has the focus keeps it while others come
        for _ in range(4):
            await page.press("Tab", code=9)
            if await page.js("document.activeElement.closest('#decision-rows') !== null"):
                break
            if await page.js("document.activeElement.id") == "pause":
                await page.press(" ", " ", 32)
        assert await page.js("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        before = await page.js(ROWS)
        await page.until("/^[1-9][0-9]* came since$/.test(document.getElementById('skipped').textContent)")
        assert await page.js(ROWS) == before
        await page.press("ArrowDown", code=40)
        await page.press("Enter", "\r", 13)
        await page.until("document.getElementById('details').open")
        body = "document.getElementById('details-body').innerText"
        await page.until(f"{body}.includes('(chosen)')")
        text = await page.js(body)
        assert "Candidate" in text
        assert "Harm" in text
        await page.press("Escape", code=27)
        assert await page.js("document.activeElement.closest('#decision-rows') !== null")
        assert page.said == []


@async_test
async def test_everything_has_a_name_and_can_be_read(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page, talk(front):
        for theme in ("light", "dark"):
            await page.prefer(prefers_color_scheme=theme)
            await page.until(f"{ROWS} > 10 && {FINISHED}")
            assert await page.js(CONTRAST) == []
        nameless = [
            node["role"]["value"]
            for node in await page.tree()
            if node["role"]["value"]
            in {"button", "textbox", "table", "region", "dialog", "image", "img", "link"}
            and not node.get("name", {}).get("value")
        ]
        assert nameless == []
        assert await page.js("document.documentElement.lang") == "en"
        levels = await page.js(
            "[...document.querySelectorAll('h1, h2')].filter((each) => each.checkVisibility())"
            ".map((each) => each.tagName)"
        )
        assert (levels[0], set(levels[1:])) == ("H1", {"H2"})
        ids = await page.js("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert len(ids) == len(set(ids))
        refers = await page.js(
            "[...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].flatMap((each) => "
            "`${each.getAttribute('aria-labelledby') ?? ''} ${each.getAttribute('aria-describedby') ?? ''}`.trim().split(' '))"
        )
        assert set(refers) <= set(ids)
        assert await page.js("document.getElementById('alerts').getAttribute('aria-live')") == "polite"
        await page.prefer(prefers_reduced_motion="reduce")
        assert await page.js("document.getAnimations().length") == 0


@async_test
async def test_it_fits_and_is_pictured(tmp_path):
    nvml = FakeNvml(5)
    async with scene(nvml) as front, opened(tmp_path, front) as page, talk(front, 5):
        await page.size(1440, 900)
        await page.prefer(prefers_color_scheme="light")
        await page.until(f"{ROWS} > 30 && {FINISHED}")
        await asyncio.sleep(12 if PICTURES else 0)  # so that the pictures have a history to show
        nvml.recovery["GPU-1"] = 1
        await page.until("document.querySelector('#alerts li.page') !== null")
        assert "reset the GPU" in await page.js("document.getElementById('alerts').textContent")
        assert await page.js("document.title") == "(1) Balancer"
        for name, width, height, theme in (
            ("light", 1440, 900, "light"),
            ("dark", 1440, 900, "dark"),
            ("400px", 400, 860, "light"),
            ("4k", 3840, 2160, "dark"),
        ):
            await page.size(width, height, 0.5 if name == "4k" else 1)
            await page.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
            await asyncio.sleep(0.3 if PICTURES else 0)
            assert not await page.js(WIDER), name
            cut = "[...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth).length"
            assert await page.js(cut) == 0, name
            await pictured(page, name)
        size = "parseFloat(getComputedStyle(document.body).fontSize)"
        assert await page.js(size) > 20
        await page.size(400, 860)
        await page.js(
            "[...document.querySelectorAll('#decision-rows tr')].find((row) => row.cells[4].textContent.startsWith('large') "
            "&& row.lastChild.textContent === '200').querySelector('button').click()"
        )
        await page.until("document.getElementById('details-body').innerText.includes('(chosen)')")
        assert not await page.js(WIDER)
        assert page.said == []
        await page.size(1440, 900)
        await pictured(page, "receipt")


@async_test
async def test_the_theme_is_the_systems_until_one_is_chosen(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page:
        back = "getComputedStyle(document.body).backgroundColor"
        await page.prefer(prefers_color_scheme="light")
        light = await page.js(back)
        await page.prefer(prefers_color_scheme="dark")
        dark = await page.js(back)
        assert light != dark
        await page.js("document.getElementById('theme').click()")
        assert await page.js(back) == light
        await page.do("Page.reload")
        await page.until(
            "document.readyState === 'complete' && document.getElementById('link').textContent === 'live'"
        )
        assert await page.js(back) == light
        assert await page.js("document.getElementById('theme').textContent") == "Theme: light"


@async_test
async def test_behind_a_key_it_shows_nothing_until_that_is_given(tmp_path):
    async with scene(admin_api_key=KEY) as front, opened(tmp_path, front) as page, talk(front, 2):
        await page.until("document.activeElement?.id === 'key'")
        assert not await page.js("document.getElementById('main').checkVisibility()")
        await page.write("wrong")
        await page.press("Enter", "\r", 13)
        await page.until("document.getElementById('login-error').textContent === 'That key is not the one.'")
        await page.write(KEY)
        await page.press("Enter", "\r", 13)
        await page.until(f"{ROWS} > 0")
        assert await page.js("[localStorage.length, sessionStorage.length]") == [1, 1]
        assert not any(KEY in url or "key" in url for url in page.asked)
        await page.do("Page.reload")
        await page.until(f"{ROWS} > 0")
        await page.js("document.getElementById('forget').click()")
        await page.until("document.activeElement?.id === 'key'")
        assert await page.js("sessionStorage.length") == 0
        # the browser itself notes each 401
        assert [each for each in page.said if "401" not in each] == []


@async_test
async def test_it_comes_back_when_the_balancer_does(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page, talk(front, 2):
        await page.until(f"{ROWS} > 0")
        balancer = front.balancer
        port = balancer.listeners.ports[-1]
        await balancer.listeners.close(balancer._admins)
        for connection in balancer._admins.connections:
            connection.force_close()
        await page.until("document.getElementById('link').className === 'bad'")
        await balancer.listeners.open(balancer._admins, "127.0.0.1", port)
        await page.until(f"document.getElementById('link').textContent === 'live' && {ROWS} > 0")


@async_test
async def test_no_markup_can_be_written_and_no_script_added(tmp_path):
    async with scene() as front, opened(tmp_path, front) as page:
        tried = (
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'written'; } "
            "catch (error) { return error.name; } })()"
        )
        assert await page.js(tried) == "TypeError"
        tried = (
            "(() => { try { document.body.setAttribute('onclick', 'x()'); return 'written'; } "
            "catch (error) { return error.name; } })()"
        )
        assert await page.js(tried) == "TypeError"
        loaded = (
            "new Promise((resolve) => { const image = new Image(); image.onload = () => resolve('loaded'); "
            "image.onerror = () => resolve('refused'); image.src = 'http://127.0.0.1:9/x.png'; })"
        )
        assert await page.js(loaded) == "refused"
        assert any("Content Security Policy" in each for each in page.said)
        page.asked = [url for url in page.asked if not url.endswith("/x.png")]
