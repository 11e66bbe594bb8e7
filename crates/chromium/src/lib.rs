//! Drives a headless Chromium over its debugging pipe: for the tests of pages, and for their pictures.
//!
//! Unlike a page that is dumped when it has loaded, a page that goes on can be watched, typed at, and looked at here. The
//! commands are those of the DevTools protocol.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long Chromium may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(40);

/// Returns the program that the environment variable `CHROMIUM` names, or else one of the usual names; `None` if none of
/// them can be started.
#[must_use]
pub fn find() -> Option<String> {
    let runs = |program: &String| {
        let mut command = Command::new(program);
        let status = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(String::from);
    std::env::var("CHROMIUM").into_iter().chain(usual).find(runs)
}

/// A browser with one page open. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    events: Vec<Value>,
    /// Removed when the browser has ended.
    _profile: TempDir,
}

impl Browser {
    /// Starts the program that [`find`] returns, with a new profile.
    ///
    /// # Errors
    ///
    /// Why it could not be started, or does not answer.
    pub fn start() -> Result<Browser, String> {
        let program = find().ok_or("no Chromium: install it, or name it in CHROMIUM")?;
        let profile = tempfile::tempdir().map_err(|why| format!("no profile: {why}"))?;
        let told = |error: io::Error| format!("{program}: {error}");
        // Chromium reads commands from file 3 and writes answers to file 4, each ended by a zero byte. The browser's process
        // takes the shell's place.
        let script = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#;
        let mut child = Command::new("sh")
            .args(["-c", script, &program, "--remote-debugging-pipe", "--headless", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(told)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program}: no pipes"));
        };
        let (told, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser {
            child,
            input,
            messages,
            session: String::new(),
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the browser says is wrong, or that it says nothing.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).map_err(|error| format!("{method}: {error}"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut message = match self.messages.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => return Err(format!("{method}: no answer")),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{method}: the browser is gone"));
                }
            };
            if message["id"] != self.last_id {
                self.events.push(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                return Err(format!("{method}: {}", message["error"]));
            }
        }
    }

    /// Opens a page and waits until it has loaded.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call) and [`wait`](Self::wait).
    pub fn open(&mut self, url: &str) -> Result<(), String> {
        let opened = self.call("Page.navigate", json!({"url": url}))?;
        match opened["errorText"].as_str() {
            None => self.wait(PATIENCE, "document.readyState === 'complete'"),
            Some(why) => Err(format!("{url}: {why}")),
        }
    }

    /// Loads the page anew and waits until it has loaded.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call) and [`wait`](Self::wait).
    pub fn reload(&mut self) -> Result<(), String> {
        // For a moment the old page still answers; only the new one is without this mark.
        self.eval("window.reloading = true")?;
        self.call("Page.reload", json!({}))?;
        self.wait(PATIENCE, "!window.reloading && document.readyState === 'complete'")
    }

    /// The size of the page in CSS pixels, and whether it is a phone's: then it can be touched, and has small pixels.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn resize(&mut self, width: u32, height: u32, phone: bool) -> Result<(), String> {
        let scale = if phone { 2 } else { 1 };
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        Ok(())
    }

    /// What the reader prefers, such as `prefers-color-scheme` and `dark`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn prefer(&mut self, features: &[(&str, &str)]) -> Result<(), String> {
        let feature = |(name, value): &(&str, &str)| json!({"name": name, "value": value});
        let features: Vec<Value> = features.iter().map(feature).collect();
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))?;
        Ok(())
    }

    /// The value of a JavaScript expression, or of the promise that it is.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); what the expression throws.
    pub fn eval(&mut self, expression: &str) -> Result<Value, String> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", params)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].take()),
            thrown => Err(format!("{expression}: {thrown}")),
        }
    }

    /// Waits until the expression is true.
    ///
    /// # Errors
    ///
    /// That it is not after so long, with its value then.
    pub fn wait(&mut self, longest: Duration, expression: &str) -> Result<(), String> {
        let end = Instant::now() + longest;
        loop {
            let value = self.eval(expression);
            if value == Ok(Value::Bool(true)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{expression} is {value:?} after {longest:?}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Presses and releases a key, by its name in events: `Tab`, `Enter`, `a`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn key(&mut self, key: &str) -> Result<(), String> {
        let text = match key {
            "Enter" => Some("\r"),
            _ if key.chars().count() == 1 => Some(key),
            _ => None,
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            _ => 0,
        };
        let kind = if text.is_some() { "keyDown" } else { "rawKeyDown" };
        let mut press = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            press["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", press)?;
        let release = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", release)?;
        Ok(())
    }

    /// Types a text into what has the focus.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn text(&mut self, text: &str) -> Result<(), String> {
        self.call("Input.insertText", json!({"text": text}))?;
        Ok(())
    }

    /// A picture of what is to be seen, or of the whole page, as PNG.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn picture(&mut self, whole: bool) -> Result<Vec<u8>, String> {
        let answer =
            self.call("Page.captureScreenshot", json!({"captureBeyondViewport": whole}))?;
        let data = answer["data"].as_str().unwrap_or_default();
        BASE64_STANDARD.decode(data).map_err(|why| why.to_string())
    }

    /// What the page has complained about since this was last asked: exceptions, `console.error`, violated policies.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn complaints(&mut self) -> Result<Vec<String>, String> {
        let events = self.take_events()?;
        let complaint = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => {
                    matches!(params["type"].as_str(), Some("error" | "warning"))
                }
                "Log.entryAdded" => {
                    matches!(params["entry"]["level"].as_str(), Some("error" | "warning"))
                }
                _ => false,
            }
        };
        let (complaints, rest): (Vec<Value>, Vec<Value>) = events.into_iter().partition(complaint);
        self.events = rest;
        Ok(complaints.iter().map(|event| event["params"].to_string()).collect())
    }

    /// What the page has asked for since this was last asked: addresses.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn requests(&mut self) -> Result<Vec<String>, String> {
        let events = self.take_events()?;
        let is_request = |event: &Value| event["method"] == "Network.requestWillBeSent";
        let (requests, rest): (Vec<Value>, Vec<Value>) = events.into_iter().partition(is_request);
        self.events = rest;
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(String::from);
        Ok(requests.iter().filter_map(url).collect())
    }

    /// All events up to now: an answer comes after what happened before it.
    fn take_events(&mut self) -> Result<Vec<Value>, String> {
        self.eval("0")?;
        Ok(std::mem::take(&mut self.events))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        // It ends its own processes; whatever becomes of it, none is left waiting.
        let _ = self.call("Browser.close", json!({}));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
