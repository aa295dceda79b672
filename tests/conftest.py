"""What tests may need from the machine: a browser, and the embedded model."""

import os
import shutil

import hypothesis
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
NO_BROWSER = (
    "No Chromium was found. Install one (Debian and Ubuntu: apt-get install chromium), or put "
    "the path of a Chromium or Chrome in the variable CHROMIUM."
)

NO_MODEL = "The embedded model is not in the cache folder. Run `longctx fetch` while online."

pytest.register_assert_rewrite("asked_views", "esm", "lab")

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Without one the test is skipped, but in CI it fails."""
    path = find_chromium()
    if path is None:
        skip_unless_in_ci(NO_BROWSER)
    return path


@pytest.fixture(scope="module")
def browser(chromium):
    from esm import open_browser

    with open_browser(chromium) as started:
        yield started


@pytest.fixture
def bench(browser):
    """An empty page, which in the end has made no error and no request."""
    from esm import open_page

    with open_page(browser) as opened:
        yield opened
        opened.assert_clean()


def find_chromium() -> str | None:
    """Return the browser that CHROMIUM names, or else the first one on this machine."""
    named = os.environ.get("CHROMIUM")
    candidates = (named,) if named else (*BROWSERS, *MAC_APPLICATIONS)
    return next(filter(None, map(shutil.which, candidates)), None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("model"):
        from longctx_edu.models import is_fetched

        if not is_fetched():
            skip_unless_in_ci(NO_MODEL)


def skip_unless_in_ci(reason: str) -> None:
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
