"""A real headless Chromium that a case drives by the DevTools protocol, over a pair of pipes."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe"]
# By DOM name: Windows' virtual key code, which Chromium goes by, and the text that the key types.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, ""), "End": (35, ""), "Backspace": (8, "")}
SHIFT = 8


def why_no_browser(_=None):
    """A case's `requires`."""
    return None if shutil.which("chromium") else "there is no chromium; scripts/deps.sh --browser installs it"


class Browser:
    """One page in a Chromium of its own, which runs on a host of the lab.

    complaints: what the page's scripts have thrown, and what the browser has refused to load or to run.
    requests: every URL that the page has asked for.
    """

    def __init__(self, namespace, size=(1280, 1000)):
        self.complaints, self.requests = [], []
        self._ids, self._answers, self._unread, self._session = itertools.count(1), {}, b"", None
        self._profile = tempfile.TemporaryDirectory()
        theirs_to_read, self._to = os.pipe()
        self._from, theirs_to_write = os.pipe()
        os.set_blocking(self._from, False)
        # Chromium reads its descriptor 3 and writes to its 4.
        command = f'exec chromium "$@" 3<&{theirs_to_read} 4>&{theirs_to_write}'
        self._log = open(os.path.join(self._profile.name, "log"), "w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "env", f"HOME={self._profile.name}", "bash", "-c", command, "chromium", *FLAGS,
             f"--window-size={size[0]},{size[1]}", f"--user-data-dir={self._profile.name}/data", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, pass_fds=(theirs_to_read, theirs_to_write))
        os.close(theirs_to_read)
        os.close(theirs_to_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as if its window had the focus

    def close(self):
        try:
            if self._process.poll() is None:
                self._session = None
                self.call("Browser.close")
                self._process.wait(timeout=10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            self._log.close()
            for descriptor in (self._to, self._from):
                os.close(descriptor)
            self._profile.cleanup()

    def call(self, method, **parameters):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while number not in self._answers:
            self._read(end, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, end, method):
        readable = select.select([self._from], [], [], max(0, end - time.monotonic()))[0]
        block = os.read(self._from, 1 << 20) if readable else b""
        if not block:
            self._log.seek(0)
            raise AssertionError(f"Chromium does not answer {method}: {self._log.read()[-600:]}")
        *whole, self._unread = (self._unread + block).split(b"\0")
        for one in map(json.loads, whole):
            if "id" in one:
                self._answers[one["id"]] = one
            else:
                self._take_event(one["method"], one["params"])

    def _take_event(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["source"] in ("security", "javascript", "violation"):
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    # What a person does

    def open(self, url):
        error = self.call("Page.navigate", url=url).get("errorText")
        if error:
            raise AssertionError(f"{url}: {error}")

    def press(self, key, modifiers=0):
        code, text = KEYS[key]
        pressed = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **pressed, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def tab_to(self, wanted, most=400):
        """Presses Tab until what has the focus is called so; the names on the way."""
        names = []
        for _ in range(most):
            self.press("Tab")
            names.append(self.focused())
            if names[-1] == wanted:
                return names
        raise AssertionError(f"Tab does not come to {wanted!r}, but to {names}")

    def prefer(self, colour_scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colour_scheme}])

    # What a person perceives

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector="body"):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def focused(self):
        """What a screen reader calls what has the focus."""
        for node in self.accessible():
            if any(each["name"] == "focused" and each["value"].get("value") for each in node.get("properties", [])) \
                    and node["role"]["value"] != "RootWebArea":
                return node["name"]["value"]
        return None

    def accessible(self):
        """What a screen reader is given, without what it ignores."""
        return [node for node in self.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]

    def screenshot(self, path, height):
        self.call("Emulation.setDeviceMetricsOverride", width=1280, height=height, deviceScaleFactor=1, mobile=False)
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        self.call("Emulation.clearDeviceMetricsOverride")
