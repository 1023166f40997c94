use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Weak;

use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::control::Daemon;
use crate::daemon::Shared;
use crate::kind::{Decoder, KINDS};
use crate::slab::Slab;

struct Known;

impl Daemon for Known {
    fn status(&self) -> Value {
        json!({ "generation": { "number": 3 } })
    }

    fn reload(&self, _: bool, _: bool, _: Option<crate::audit::Peer>) -> Value {
        json!({ "outcome": "unchanged", "generation": 3 })
    }

    fn metrics(&self, _: &mut String) {}
}

/// A console over a directory with one rule, and what its page would send.
struct Open {
    _dir: tempfile::TempDir,
    rule: std::path::PathBuf,
    shared: Arc<Shared>,
    _daemon: Arc<dyn Daemon>,
    page: Page,
}

impl Open {
    fn new() -> Open {
        let dir = tempfile::tempdir().unwrap();
        let rule = dir.path().join("rules/a.yml");
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        std::fs::write(&rule, "title: A\n").unwrap();
        let rules = vec![dir.path().join("rules")];
        let config = Config { rules, state_dir: Some(dir.path().join("state")), ..Config::default() };
        let shared = Shared::new(&config);
        let daemon: Arc<dyn Daemon> = Arc::new(Known);
        let weak: Weak<dyn Daemon> = Arc::downgrade(&daemon);
        let page = Page::open(0, Desk::new(weak, shared.clone(), "here".to_owned())).unwrap();
        Open { _dir: dir, rule, shared, _daemon: daemon, page }
    }

    fn host(&self) -> String {
        self.page.address.to_string()
    }

    fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.page.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn exchange(&self, request: &str) -> String {
        let mut reply = String::new();
        self.connect(request).read_to_string(&mut reply).unwrap();
        reply
    }

    fn get(&self, path: &str, host: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    }

    /// What the page sends; `more` may say a header again, or another one.
    fn question(&self, path: &str, body: &str, more: &[(&str, &str)]) -> String {
        let (host, origin) = (self.host(), format!("http://{}", self.host()));
        let mut headers = vec![
            ("host", host.as_str()),
            ("origin", &origin),
            ("content-type", "application/json"),
            ("connection", "close"),
        ];
        for (name, value) in more {
            headers.retain(|(n, _)| n != name);
            if !value.is_empty() {
                headers.push((name, value));
            }
        }
        let headers: String = headers.iter().flat_map(|(n, v)| [n, ": ", v, "\r\n"]).collect();
        format!("POST {path} HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    }

    fn post(&self, path: &str, body: &str, more: &[(&str, &str)]) -> String {
        self.exchange(&self.question(path, body, more))
    }

    /// Comes in: cookie and key.
    fn enter(&self) -> (String, String) {
        let link = self.page.link().unwrap();
        let token = link.split("#token=").nth(1).unwrap();
        let reply = self.post("/api/login", &json!({ "token": token }).to_string(), &[]);
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        let cookie = reply.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let key = body(&reply)["key"].as_str().unwrap().to_owned();
        (cookie.split(';').next().unwrap().to_owned(), key)
    }

    fn ask(&self, what: &str, question: &Value) -> String {
        let (cookie, key) = self.enter();
        self.post(&format!("/api/{what}"), &question.to_string(), &[("cookie", &cookie), ("x-picket-key", &key)])
    }
}

fn body(reply: &str) -> Value {
    serde_json::from_str(reply.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_page_is_served_to_its_own_host_with_a_strict_policy() {
    let open = Open::new();
    for asset in ASSETS {
        let reply = open.get(asset.path, &open.host());
        assert_eq!(status(&reply), 200, "{}", asset.path);
        let policy = reply.lines().find_map(|l| l.strip_prefix("content-security-policy: ")).unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("-inline") && !policy.contains("-eval"),
            "{policy}"
        );
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(reply.contains(header), "{}: {header}", asset.path);
        }
        // The policy would not run these anyway.
        for inline in ["<script>", "onclick=", "style=\"", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!asset.text.contains(inline), "{}: {inline}", asset.path);
        }
        assert!(
            !asset.text.contains("https://") && !asset.text.contains("http://"),
            "{}: something from elsewhere",
            asset.path
        );
    }
    assert_eq!(status(&open.get("/../Cargo.toml", &open.host())), 404);
    let port = open.page.address.port();
    // A name that was made to lead to this address (DNS rebinding) is not ours.
    for host in [
        format!("evil.example:{port}"),
        format!("localhost:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{port}.evil.example"),
    ] {
        assert_eq!(status(&open.get("/", &host)), 421, "{host}");
    }
    let twice = format!("GET / HTTP/1.1\r\nhost: {0}\r\nhost: evil.example\r\nconnection: close\r\n\r\n", open.host());
    assert_ne!(status(&open.exchange(&twice)), 200);
}

#[test]
fn only_a_session_of_the_page_itself_is_answered() {
    let open = Open::new();
    let (cookie, key) = open.enter();
    let own = [("cookie", cookie.as_str()), ("x-picket-key", key.as_str())];
    let with = |more: &[(&'static str, &'static str)]| -> u16 {
        let mut all = own.to_vec();
        all.extend(more);
        status(&open.post("/api/status", "{}", &all))
    };
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[("cookie", "")]), 401);
    assert_eq!(with(&[("x-picket-key", "")]), 401);
    assert_eq!(with(&[("x-picket-key", "guess")]), 401);
    assert_eq!(with(&[("origin", "")]), 403);
    assert_eq!(with(&[("origin", "null")]), 403);
    assert_eq!(with(&[("origin", "http://evil.example")]), 403);
    assert_eq!(with(&[("sec-fetch-site", "same-site")]), 403);
    assert_eq!(with(&[("sec-fetch-site", "same-origin")]), 200);
    // What a form of another page could send.
    assert_eq!(with(&[("content-type", "text/plain")]), 415);
    assert_eq!(with(&[("host", "evil.example")]), 421);
    assert_eq!(status(&open.get("/api/status", &open.host())), 405);
    // Each link lets one in, once.
    let link = open.page.link().unwrap();
    let login = json!({ "token": link.split("#token=").nth(1).unwrap() }).to_string();
    assert_eq!(status(&open.post("/api/login", &login, &[("origin", "http://evil.example")])), 403);
    assert_eq!(status(&open.post("/api/login", &login, &[])), 200);
    assert_eq!(status(&open.post("/api/login", &login, &[])), 401);
    assert_eq!(status(&open.post("/api/login", "{}", &[])), 401);
}

#[test]
fn files_are_those_of_the_rules_and_nothing_is_written_elsewhere() {
    let open = Open::new();
    let got = body(&open.ask("file", &json!({ "name": "a.yml" })));
    assert_eq!(got["text"], "title: A\n");
    for name in ["../state/spool", "/etc/passwd", "..%2fstate", "a.yml\0", ""] {
        assert_eq!(status(&open.ask("file", &json!({ "name": name }))), 404, "{name}");
        let save = json!({ "name": name, "text": "x", "digest": got["digest"] });
        assert_eq!(status(&open.ask("save", &save)), 404, "{name}");
        assert_eq!(status(&open.ask("save", &json!({ "name": name, "text": "x" }))), 422, "{name}");
    }
    assert_eq!(status(&open.ask("save", &json!({ "name": "a.yml", "text": "x", "digest": "other" }))), 409);
    assert_eq!(status(&open.ask("save", &json!({ "name": "a.yml", "text": "x" }))), 409, "it is there");
    assert_eq!(std::fs::read_to_string(&open.rule).unwrap(), "title: A\n");
    let saved = body(&open.ask("save", &json!({ "name": "a.yml", "text": "title: B\n", "digest": got["digest"] })));
    assert_eq!(saved["reload"]["generation"], 3);
    assert_eq!(std::fs::read_to_string(&open.rule).unwrap(), "title: B\n");
    assert_eq!(status(&open.ask("hunt", &json!({}))), 400);
    assert_eq!(status(&open.ask("nonsense", &json!({}))), 404);
    assert_eq!(status(&open.ask("file", &json!({ "nonsense": 1 }))), 400);
}

#[test]
fn questions_are_bounded() {
    let open = Open::new();
    let (cookie, key) = open.enter();
    let own = [("cookie", cookie.as_str()), ("x-picket-key", key.as_str())];
    let long = json!({ "name": "a.yml", "text": "x".repeat(LONGEST + 1), "digest": "d" }).to_string();
    assert_eq!(status(&open.post("/api/save", &long, &own)), 413);
    let length = (MAX_BODY + 1).to_string();
    let more = [own[0], own[1], ("content-length", length.as_str())];
    let endless = open.question("/api/save", "", &more).replace("content-length: 0\r\n", "");
    let mut stream = open.connect(&endless);
    let _ = stream.write_all(&vec![b'x'; MAX_BODY + 1]);
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[test]
fn a_stream_shows_what_passes_and_ends_with_its_client() {
    let open = Open::new();
    let (cookie, key) = open.enter();
    let own = [("cookie", cookie.as_str()), ("x-picket-key", key.as_str())];
    let wish = json!({ "events": true, "form": "line" }).to_string();
    let mut stream = open.connect(&open.question("/api/stream", &wish, &own));
    let viewers = |wanted: u64| {
        while open.shared.viewers.status()["now"] != wanted {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    viewers(1);
    let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
    let event = json!({ "System": { "EventName": KINDS[0].name }, "EventData": { "argv": ["x", "<b>\n\ndata: 1"] } });
    decoder.value(1, event, &mut slab).unwrap();
    open.shared.viewers.pass(&slab);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: {") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        seen.extend_from_slice(&part[..read]);
    }
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    let line = seen.lines().find_map(|l| l.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["line"]["about"], "<b>\n\ndata: 1");
    drop(stream);
    viewers(0);
    let bad = open.ask("stream", &json!({ "events": true, "words": ["Imag=x"] }));
    assert!(status(&bad) == 400 && bad.contains("did you mean `Image`?"), "{bad}");
}
