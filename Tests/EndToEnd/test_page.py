"""The page in a real browser: with script and without, in both themes, narrow and wide."""
import json
import re
import shutil
import signal

import pytest
import requests

from conftest import Replica, patience, root, wait_until

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (chromium and chromedriver), reason="no Chromium here (packages chromium, chromium-driver)")
pictures = root / ".build/screenshots"
secret = ("admin", "s3cret")
auth = "[stats] auth = admin:s3cret"

# The contrast of every text that shows (WCAG 2.2, 1.4.3), as the browser painted it.
contrast = """
const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1} };
const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > 0) return c.rgb } return [255, 255, 255] };
const poor = [];
for (const e of document.querySelectorAll('body *')) {
  if (!e.checkVisibility() || !['INPUT'].includes(e.tagName) && ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  if (e.closest('script,style')) continue;
  const a = light(parse(getComputedStyle(e).color).rgb), b = light(ground(e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) poor.push([e.tagName, e.textContent.slice(0, 40), ratio]);
}
return poor;
"""


@pytest.fixture
def browser():
    drivers = []

    def open(width=1280, dark=False, script=True):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
            options.add_argument(word)
        if not script:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
        drivers.append(driver)
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        return driver

    yield open
    for driver in drivers:
        driver.quit()


@pytest.fixture
def served(start):
    """Three servers with names, one of which is the test's own to kill."""
    replicas = [Replica(name) for name in ("one", "two", "three")]
    ballast = start([], "health-every = 200ms", "health-fall = 1", "[backend predict]", "path = /v1 /predict", "maxconn = 10",
                    *[f"server = {replica.name} 127.0.0.1:{replica.port}" for replica in replicas], auth)
    ballast.replicas = replicas
    wait_until(lambda: up(ballast) == 3, "three servers up")
    yield ballast
    for replica in replicas:
        replica.process.kill()


def up(ballast):
    told = requests.get(ballast.stats + "/api/stats", auth=secret, timeout=patience).json()
    return sum(server["state"] == "up" for server in told["backends"][0]["servers"])


def address(ballast):
    return ballast.stats.replace("http://", "http://admin:s3cret@") + "/"


def state(driver, name):
    """The word in a server's row; nothing while the page is being loaded."""
    for row in driver.find_elements(By.CSS_SELECTOR, ".scroll > table > tbody > tr:not(.more)"):
        try:
            if row.find_element(By.TAG_NAME, "summary").text.split()[0] == name:
                return row.find_element(By.CSS_SELECTOR, "td.state").text.split()[1]
        except (StaleElementReferenceException, NoSuchElementException, IndexError):
            return None
    return None


def sound(driver, ballast):
    """Nothing was wrong in the console, and nothing was asked of anybody else."""
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"].replace("admin:s3cret@", "")
            assert url.startswith((ballast.stats, "data:", "about:", "chrome:")), url


def test_it_is_complete_without_script(served, browser):
    driver = browser(script=False)
    driver.get(address(served))
    assert [state(driver, name) for name in ("one", "two", "three")] == ["up"] * 3
    assert driver.find_element(By.ID, "live").text == ""
    # What unfolds does so by itself, and what acts is a form.
    details = driver.find_element(By.ID, "b0s0m")
    assert not details.is_displayed()
    driver.find_element(By.CSS_SELECTOR, "#b0s0 summary").click()
    assert details.is_displayed() and "first byte" in details.text
    driver.find_element(By.CSS_SELECTOR, "#b0s1 button").click()
    wait_until(lambda: state(driver, "two") == "draining", "the drained server")
    assert driver.current_url.split("@")[-1].endswith("/")
    sound(driver, served)


def test_it_lives(served, browser):
    driver = browser()
    driver.get(address(served))
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")
    driver.execute_script("window.mark = 1")
    driver.find_element(By.CSS_SELECTOR, "#b0s0 summary").click()
    served.replicas[1].process.kill()
    wait_until(lambda: state(driver, "two") == "down", "the killed server to be down")
    assert "1 of 3 servers down" in driver.find_element(By.ID, "status").text
    wait_until(lambda: driver.title.startswith("✕ 1 down"), "the title")
    assert "two" in driver.find_element(By.ID, "recent").text
    # It is the same document, and what was unfolded is.
    assert driver.execute_script("return window.mark") == 1
    assert driver.find_element(By.ID, "b0s0m").is_displayed()
    sound(driver, served)


def test_acting_from_it(served, browser):
    driver = browser()
    driver.get(address(served))
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")

    def press(label):
        next(button for button in driver.find_elements(By.TAG_NAME, "button")
             if button.is_displayed() and button.get_attribute("aria-label") == label).click()

    press("drain one")
    wait_until(lambda: state(driver, "one") == "draining", "the drained server")
    assert "one is draining" in driver.find_element(By.ID, "said").text
    # What has changed keeps its focus.
    assert driver.execute_script("return document.activeElement.tagName") == "BUTTON"
    press("resume one")
    wait_until(lambda: state(driver, "one") == "up", "the server to be back")
    driver.find_element(By.CSS_SELECTOR, "#b0s2 summary").click()
    field = driver.find_element(By.CSS_SELECTOR, "#b0s2m input")
    field.clear()
    field.send_keys("7")
    press("set the weight of three")
    wait_until(lambda: "7 (by hand)" in driver.find_element(By.ID, "b0s2m").text, "the weight")
    press("disable three")
    wait_until(lambda: state(driver, "three") == "disabled", "the disabled server")
    assert "drained by admin" in driver.find_element(By.ID, "recent").text
    sound(driver, served)


def test_other_rows_come_by_themselves(served, browser):
    driver = browser()
    driver.get(address(served))
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")
    driver.execute_script("window.mark = 1")
    served.reload([], "[backend predict]", f"server = one 127.0.0.1:{served.replicas[0].port}",
                  f"server = four 127.0.0.1:{served.replicas[1].port}", auth)
    # Asked in one step: meanwhile the rows may be others.
    names = lambda: driver.execute_script("return [...document.querySelectorAll('th summary')].map(e => e.textContent)")
    wait_until(lambda: names() == ["one", "four"], "the new rows")
    assert driver.execute_script("return window.mark") == 1
    sound(driver, served)


def test_what_stops_is_told_and_what_is_hidden_asks_for_nothing(served, browser):
    driver = browser()
    driver.get(address(served))
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")
    watching = lambda: next(one["open_connections"] for one in requests.get(
        served.stats + "/api/stats", auth=secret, timeout=patience).json()["listeners"] if served.stats.endswith(one["name"]))
    live = watching()
    driver.execute_script("Object.defineProperty(document, 'hidden', {get: () => window.gone, configurable: true});"
                          "window.gone = true; document.dispatchEvent(new Event('visibilitychange'))")
    assert driver.find_element(By.ID, "live").text == "paused"
    wait_until(lambda: watching() < live, "the stream to end")
    driver.execute_script("window.gone = false; document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")
    served.process.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: re.fullmatch(r"stale since \d\d:\d\d:\d\d", driver.find_element(By.ID, "live").text), "the word stale")
        assert driver.title == "? stale · ballast" and driver.find_element(By.CSS_SELECTOR, "body.stale")
    finally:
        served.process.signal(signal.SIGCONT)
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data again")
    wait_until(lambda: driver.title.startswith("●") and not driver.find_elements(By.CSS_SELECTOR, "body.stale"), "the title")


def test_what_a_screen_reader_is_told(served, browser):
    driver = browser()
    driver.get(address(served))
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")}
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    assert ("table", "predict") in told and roles.count("row") >= 4 and roles.count("columnheader") >= 9
    for name in ("one", "two", "three"):
        assert ("rowheader", name) in told and ("button", f"drain {name}") in told
    assert ("heading", "predict") in told and ("heading", "recent") in told, told
    assert any(role == "image" and "last 5 minutes" in name for role, name in told), told
    assert driver.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_how_it_looks(served, browser, width, dark):
    requests.post(served.stats + "/api/servers/predict/one/drain", auth=secret, headers={"X-Ballast": "1"}, timeout=patience)
    for _ in range(30):
        requests.get(served.url + "/predict", timeout=patience)
    served.replicas[2].process.kill()
    wait_until(lambda: up(served) == 1, "one server down, one drained")
    driver = browser(width, dark)
    driver.get(address(served))
    wait_until(lambda: driver.find_element(By.ID, "live").text == "live ●", "data")
    pictures.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(pictures / f"page-{width}-{'dark' if dark else 'light'}.png"))
    # Nothing is wider than the window, and what acts is inside it.
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    # Not with the longest that may stand there, either.
    assert driver.execute_script(
        "for (const e of document.querySelectorAll('tr:not(.more)>td:nth-child(5)')) e.textContent = '888 ms';"
        "const e = document.querySelector('.scroll'); return e.scrollWidth <= e.clientWidth")
    for button in driver.find_elements(By.CSS_SELECTOR, "main button"):
        assert button.rect["x"] + button.rect["width"] <= width
    assert driver.execute_script(contrast) == []
    driver.find_element(By.CSS_SELECTOR, "#b0s1 summary").click()
    driver.find_element(By.CSS_SELECTOR, ".whole summary").click()
    assert driver.execute_script(contrast) == []
    driver.save_screenshot(str(pictures / f"details-{width}-{'dark' if dark else 'light'}.png"))
