"""The page at / of the balancer's API, in a real Chromium on the balancer's host."""

import os

from browser import Browser, SHIFT, why_no_browser
from cases_choice import serve_with
from cases_drain import PATHS, bridge
from cases_health import check_services
from cases_splicectl import prints, put_back, restart_with_api, run, web
from harness import case, equal, eventually, true
from http_client import ask
from world import BRIDGES, BUILD

API = "http://127.0.0.1:10001"
LARGEST = 100_000  # bytes of the page


def opened(world):
    """A browser that shows the page, when it has drawn its first figures."""
    browser = Browser(world.lab.namespace("balancer"))
    world.clean_up.callback(browser.close)
    browser.open(f"{API}/")
    eventually(lambda: browser.text("#services table"), lambda: f"the services: {browser.text()} {browser.complaints}", seconds=30)
    return browser


def cells(browser, service, name):
    """What is shown of a bridge, by the titles of its service's table."""
    return browser.evaluate(f"""(() => {{
      const section = [...document.querySelectorAll('#services section')].find(one => one.querySelector('h2').firstChild.data === '{service}');
      const titles = [...section.querySelectorAll('thead th')].map(one => one.innerText);
      const row = [...section.querySelectorAll('tbody tr')].find(one => one.querySelector('th').innerText === '{name}');
      return Object.fromEntries([...row.cells].map((cell, place) => [titles[place], cell.innerText.trim()]));
    }})()""")


def share(browser, service, name):
    return cells(browser, service, name)["Share"]


def says(browser, words):
    eventually(lambda: words in browser.text("#said"), lambda: f"{words!r}: {browser.text('#said')!r}", seconds=30)


def check_clean(browser):
    """What the page must not do at any time."""
    equal(browser.complaints, [], "scripts that failed, and what the browser has refused")
    equal({url for url in browser.requests if not url.startswith((API, "data:"))}, set(), "requests to others")


@case("the page is one small file that loads nothing else, and a reader without a browser gets text", once=True)
def _(world):
    head = world.page("balancer", "/", "-sD", "-", "-o", "/dev/null", "-H", "Accept: text/html,*/*;q=0.8").lower()
    policy = next(line for line in head.splitlines() if line.startswith("content-security-policy:"))
    for words in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"):
        true(words in policy, f"{words} in {policy}")
    true("content-type: text/html" in head, head)
    page = world.page("balancer", "/", "-H", "Accept: text/html,*/*;q=0.8")
    true(page.startswith("<!DOCTYPE html>") and len(page.encode()) < LARGEST, f"{len(page)} bytes: {page[:60]}")
    true("innerHTML" not in page and "http://" not in page.replace("http://www.w3.org/2000/svg", "").replace("http://host/path", ""),
         "it writes no markup and names nobody else")
    text = world.page("balancer", "/")
    true("<" not in text.split("\n")[0] and "/readyz" in text, f"for curl: {text[:100]}")
    world.notes.append(f"{len(page.encode())} bytes")


@case("a bridge is drained on the page by the keyboard alone: its share goes to zero in real requests, and comes back",
      requires=why_no_browser, once=True)
def _(world):
    put_back(world)
    before = world.owners(PATHS)
    browser = opened(world)
    equal(cells(browser, web(world), "b2")["State"], "ready", "its state")
    browser.tab_to(f"Drain: b2 of {web(world)}")
    browser.press("Enter")
    says(browser, f"b2 of {web(world)} is now drain, weight 1, 0.0 % of the keys")
    during = world.owners(PATHS)
    equal(set(during.values()), set(BRIDGES) - {"b2"}, "the bridges of new connections")
    equal(bridge(world, "b2")["state"], "drain", "its state, as the API has it")
    eventually(lambda: share(browser, web(world), "b2") == "0.0 %", lambda: f"its share: {cells(browser, web(world), 'b2')}", seconds=30)
    true(f"{web(world)}, b2: drain" in browser.text("#attention"), f"what needs attention: {browser.text('#attention')}")
    eventually(lambda: "set by the API" in cells(browser, web(world), "b2")["State"], "who has set it", seconds=30)

    # The focus has stayed where it was, on what takes it back.
    equal(browser.focused(), f"Make ready: b2 of {web(world)}", "what has the focus")
    browser.press(" ")
    says(browser, f"b2 of {web(world)} is now ready")
    equal(world.owners(PATHS), before, "its keys come back, and no other key moves")

    # Its weight, two stops before.
    browser.press("Tab", SHIFT)
    browser.press("Tab", SHIFT)
    equal(browser.focused(), f"Weight of b2 of {web(world)}", "what has the focus")
    browser.evaluate("document.activeElement.select()")
    browser.type("0")
    browser.press("Tab")
    looked = browser.text("#asof")
    eventually(lambda: browser.text("#asof") != looked, "another look, which leaves what is typed", seconds=30)
    equal(browser.focused(), f"Set the weight of b2 of {web(world)}", "what has the focus")
    browser.press("Enter")
    says(browser, f"b2 of {web(world)} is now ready, weight 0")
    true("b2" not in world.owners(PATHS).values(), "new connections of a bridge without weight")
    browser.tab_to(f"State and weight of b2 of {web(world)} as configured")
    browser.press("Enter")
    says(browser, f"b2 of {web(world)} is now ready, weight 1")
    equal(world.owners(PATHS), before, "every key is where it was")
    check_clean(browser)


@case("the last bridge that takes connections is drained on the page only when that is said twice", requires=why_no_browser, once=True)
def _(world):
    put_back(world)
    browser = opened(world)
    for name in ("b1", "b3"):
        prints(world, "drain", f"{web(world)}/{name}")
    eventually(lambda: browser.text("#attention").count(f"{web(world)}, b") == 2, "the page knows", seconds=30)
    browser.tab_to(f"Drain: b2 of {web(world)}")
    browser.press("Enter")
    says(browser, "is the last bridge")
    equal(bridge(world, "b2")["state"], "ready", "its state")
    browser.press("Enter")
    says(browser, "is now drain")
    equal(bridge(world, "b2")["state"], "drain", "its state")


@case("the page explains a URL as its request is served", requires=why_no_browser, once=True)
def _(world):
    owners = world.owners(PATHS[:8])
    browser = opened(world)
    browser.tab_to("Service")
    browser.type(web(world))  # a list goes to what is typed
    browser.evaluate(f"document.querySelector('#explain-service').value = '{web(world)}'")
    browser.press("Tab")
    equal(browser.focused(), "URL", "what has the focus")
    for path, owner in owners.items():
        browser.evaluate("document.activeElement.select()")
        browser.type(path)
        browser.press("Enter")
        eventually(lambda: browser.text("#explained").startswith(f"{owner} serves: ") and f"Choices for {path} of" in browser.text("#explained"),
                   lambda: f"{path} is {owner}'s: {browser.text('#explained')}", seconds=30)
    browser.evaluate("document.activeElement.select()")
    browser.type("no path")
    browser.press("Enter")
    eventually(lambda: "422" in browser.text("#explained"), lambda: f"a refusal: {browser.text('#explained')}", seconds=30)
    check_clean(browser)


@case("the page shows connections per second, what health checks say and hot keys, whatever bytes these are of", requires=why_no_browser, once=True)
def _(world):
    check_services(world, ["web"])
    serve_with(world, web(world), ["hot_keys: { top: 4, spread: 2 }"])
    browser = opened(world)
    for name in BRIDGES:
        equal(cells(browser, web(world), name)["Health"], "✓ up", "its health")
    hostile = "/<img/src=x/onerror=document.title='stolen'>"

    def is_named():
        for path in (hostile, *PATHS[:4], hostile, hostile):
            sock = world.connect()
            ask(sock, path)
            sock.close()
        return hostile in browser.text("#hot-keys")

    eventually(is_named, lambda: f"the hot key is named: {browser.text('#hot-keys')}", seconds=60)
    equal(browser.evaluate("document.querySelectorAll('img').length"), 0, "elements out of a key")
    true("stolen" not in browser.evaluate("document.title"), "the title")
    lines = "document.querySelectorAll('#services td.opens svg path').length"
    eventually(lambda: browser.evaluate(lines) >= 3, "lines of connections per second", seconds=30)
    true("forward_first_payload" in browser.text("#verdicts"), f"verdicts that rise: {browser.text('#verdicts')}")
    true("new connections/s" in browser.text("#rate"), browser.text("#rate"))

    # What the last check said comes from the balancer's own words.
    world.lab.stop("nginx2")
    world.clean_up.callback(world.lab.start, "nginx2")
    eventually(lambda: cells(browser, web(world), "b2")["Health"].startswith("✗ "), lambda: f"{cells(browser, web(world), 'b2')}", seconds=60)
    failure = bridge(world, "b2")["health"]["failure"]
    true(failure, "a failure")
    eventually(lambda: bridge(world, "b2")["health"]["failure"] in cells(browser, web(world), "b2")["Health"],
               lambda: f"{failure}: {cells(browser, web(world), 'b2')}", seconds=30)
    true("b2: " in browser.text("#attention"), browser.text("#attention"))
    true(browser.evaluate("document.title").startswith("("), "the title counts what needs attention")
    browser.screenshot(os.path.join(BUILD, "page.png"), 1000)
    check_clean(browser)


# Relative luminance and contrast are WCAG 2.1's; a transparent element has the colour of what is behind it.
CONTRASTS = """(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const behind = element => { for (; element; element = element.parentElement) {
    const [r, g, b, a = 1] = parts(getComputedStyle(element).backgroundColor); if (a > 0) return [r, g, b]; } return [255, 255, 255]; };
  const luminance = rgb => { const [r, g, b] = rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    if (!element.offsetParent || ![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const [a, b] = [luminance(parts(getComputedStyle(element).color).slice(0, 3)), luminance(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.tagName + ' ' + element.innerText.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
})()"""


@case("a bridge whose connections are not answered is told of on the page, though nobody checks it", requires=why_no_browser, once=True)
def _(world):
    browser = opened(world)
    world.lab.stop("nginx2")
    world.clean_up.callback(world.lab.start, "nginx2")
    words = f"{web(world)}, b2: answered 0.0 % of the "

    def is_told():
        world.owners(PATHS)  # which the next choices serve
        return words in browser.text("#attention")

    eventually(is_told, lambda: f"{words!r}: {browser.text('#attention')} {cells(browser, web(world), 'b2')}", seconds=60)
    for name in ("b1", "b3"):
        eventually(lambda name=name: cells(browser, web(world), name)["Answered"] == "100.0 %", lambda name=name: f"{cells(browser, web(world), name)}",
                   seconds=30)
    check_clean(browser)


@case("the page is read in light and in dark and by a screen reader: contrast, names and titles", requires=why_no_browser, once=True)
def _(world):
    put_back(world)
    prints(world, "drain", f"{web(world)}/b3")
    browser = opened(world)
    backs = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        contrasts = browser.evaluate(CONTRASTS)
        true(len(contrasts) > 40 and contrasts[0][0] >= 4.5, f"{scheme}: the least contrasts: {contrasts[:3]}")
        backs[scheme] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        world.notes.append(f"{scheme} {contrasts[0][0]:.1f}")
    true(backs["light"] != backs["dark"], f"the backgrounds: {backs}")
    nodes = browser.accessible()
    for role in ("button", "textbox", "combobox", "spinbutton", "link", "region"):
        nameless = [node for node in nodes if node["role"]["value"] == role and not node["name"]["value"]]
        equal(nameless, [], f"{role}s without a name")
    buttons = [node["name"]["value"] for node in nodes if node["role"]["value"] == "button"]
    equal(len(buttons), len(set(buttons)), "names of buttons, each its own")
    roles = [node["role"]["value"] for node in nodes]
    true({"heading", "main", "table", "columnheader", "rowheader", "status"} <= set(roles), f"roles: {sorted(set(roles))}")
    equal(browser.evaluate("[...document.querySelectorAll('table')].filter(one => !one.caption || !one.tHead).length"), 0, "tables without titles")
    # Wider than a small window is only what scrolls by itself.
    browser.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)
    true(browser.evaluate("document.documentElement.scrollWidth <= 400"), "a window of 400 pixels")
    browser.call("Emulation.clearDeviceMetricsOverride")
    check_clean(browser)


TOKEN = "sesame-open-0123456789"


def with_token(world):
    """The balancer asks for a token before it changes anything, for the rest of the case; the path of its file."""
    path = f"{world.lab.run_dir}/api-token"
    with open(path, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(TOKEN + "\n")

    restart_with_api(world, f'token_file: {path}, listen: "127.0.0.1:10001"')
    return path


@case("where changes need a token, the page asks for it when one is refused, and keeps it for its tab alone", requires=why_no_browser, once=True)
def _(world):
    path = with_token(world)
    name = f"Drain: b2 of {web(world)}"
    code, _, errors = run(world, "drain", f"{web(world)}/b2")
    true(code == 1 and "401" in errors and "--token-file" in errors, f"splicectl without it: {code} {errors}")

    browser = opened(world)
    browser.tab_to(name)
    for token in ("wrong-0123456789-wrong", TOKEN):
        browser.press("Enter")
        says(browser, "is as it was: PATCH")
        equal(bridge(world, "b2")["state"], "ready", "its state")
        equal(browser.focused(), "This API asks for its token:", "what has the focus")
        browser.type(token)
        browser.press("Enter")
        equal(browser.focused(), name, "what has the focus")
    browser.press("Enter")
    says(browser, "is now drain")
    browser.open(f"{API}/")
    eventually(lambda: browser.text("#services table"), "the page again", seconds=30)
    browser.tab_to(f"Make ready: b2 of {web(world)}")
    browser.press("Enter")
    says(browser, "is now ready")
    equal(browser.evaluate("[localStorage.length, document.cookie]"), [0, ""], "what is kept beyond the tab")
    check_clean(browser)
    for words in (("drain", f"{web(world)}/b2"), ("reset", f"{web(world)}/b2")):
        prints(world, "--token-file", path, *words)
