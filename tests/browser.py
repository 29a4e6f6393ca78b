"""A headless Chromium for tests: opens a file with no network, runs a script in it, gives back what it returned."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find_browser() -> str | None:
    """Path of a Chromium-like browser, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def in_browser(browser: str, page: Path, script: str, *flags: str) -> Any:
    """What the asynchronous function body `script` returns (JSON) in a copy of `page`, with every error of the page.

    Returns {"value": …, "errors": […], "asked": [addresses of everything that was loaded]}.
    """
    driver = """<pre id="test-result" hidden></pre><script>
      const errors = [];
      addEventListener("error", (e) => errors.push(String(e.message)));
      addEventListener("unhandledrejection", (e) => errors.push(String(e.reason)));
      addEventListener("securitypolicyviolation", (e) => errors.push("policy: " + e.blockedURI));
      addEventListener("load", async () => {
        let value = null;
        try { value = await (async () => { %s })(); } catch (error) { errors.push(String(error)); }
        const asked = performance.getEntriesByType("resource").map((r) => r.name);
        document.getElementById("test-result").textContent = JSON.stringify({ value, errors, asked });
      });
    </script>"""
    copy = page.with_name("driven.html")
    copy.write_text(page.read_text(encoding="utf-8") + driver % script, encoding="utf-8")
    profile = page.with_name("profile")
    command = [
        browser,
        *FLAGS,
        *flags,
        f"--user-data-dir={profile}",
        "--virtual-time-budget=20000",
        "--dump-dom",
        copy.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    found = re.search(r'<pre id="test-result" hidden="">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], "the driven page gave no result: " + done.stderr[-2000:]
    return json.loads(unescape(found[1]))
