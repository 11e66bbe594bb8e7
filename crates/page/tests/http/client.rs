//! As much of HTTP as the tests need.

use page::Page;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}

pub(crate) fn connect(page: &Page) -> TcpStream {
    let stream = TcpStream::connect(page.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a whole request as it is, and reads the answer to its end.
pub(crate) fn raw(page: &Page, request: &str) -> Answer {
    let mut stream = connect(page);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() }
}

pub(crate) fn get(page: &Page, path: &str) -> Answer {
    raw(page, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// `POST /steer` with this secret and body.
pub(crate) fn steer(page: &Page, secret: Option<&str>, body: &str) -> Answer {
    let key = secret.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
    let length = body.len();
    raw(
        page,
        &format!(
            "POST /steer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

/// An open `/events`.
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
}

/// One message of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Stream {
    /// Asks for events, with further lines of the head.
    pub(crate) fn open(page: &Page, query: &str, head: &str) -> Result<Stream, u16> {
        let mut stream = connect(page);
        let request = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        while line != "\r\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the head ends");
        }
        if status == 200 { Ok(Stream { lines }) } else { Err(status) }
    }

    /// The next message; `None` when the stream has ended. The sizes of chunks lie between the lines and are skipped.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => message.name = name.to_owned(),
                Some(("id", id)) => message.id = id.to_owned(),
                Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                _ if line == "\n" && !message.name.is_empty() => return Some(message),
                _ => {}
            }
        }
    }

    /// The next message of this name.
    pub(crate) fn until(&mut self, name: &str) -> Message {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no `{name}` comes");
            let message = self.next().expect("the stream goes on");
            if message.name == name {
                return message;
            }
        }
    }

    /// Events until there are so many, as pairs of number and kind, and the id of the last list.
    pub(crate) fn events(&mut self, count: usize) -> (Vec<(u64, String)>, String) {
        let mut events = Vec::new();
        loop {
            let message = self.until("events");
            for event in message.data.as_array().unwrap() {
                let kind = event["event"].as_str().unwrap().to_owned();
                events.push((event["seq"].as_u64().unwrap(), kind));
            }
            if events.len() >= count {
                return (events, message.id);
            }
        }
    }
}
