//! The console: a page for the people who write rules on this host, and what it asks. `control/page.rs` serves it.

mod desk;
mod door;
mod files;

mod slot;

pub use desk::{Answer, Desk};
pub use door::{Door, Pass};
pub use files::LONGEST;
pub use slot::Slot;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    pub path: &'static str,
    pub kind: &'static str,
    pub text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Everything the page is made of. Part of the binary: nothing is read from a disk, and nothing comes from elsewhere.
pub const ASSETS: &[Asset] = &[
    Asset { path: "/", kind: "text/html; charset=utf-8", text: include_str!("assets/index.html") },
    Asset { path: "/style.css", kind: "text/css; charset=utf-8", text: include_str!("assets/style.css") },
    Asset { path: "/app.js", kind: SCRIPT, text: include_str!("assets/app.js") },
    Asset { path: "/api.js", kind: SCRIPT, text: include_str!("assets/api.js") },
    Asset { path: "/dom.js", kind: SCRIPT, text: include_str!("assets/dom.js") },
    Asset { path: "/rules.js", kind: SCRIPT, text: include_str!("assets/rules.js") },
    Asset { path: "/stream.js", kind: SCRIPT, text: include_str!("assets/stream.js") },
    Asset { path: "/detail.js", kind: SCRIPT, text: include_str!("assets/detail.js") },
    Asset { path: "/editor.js", kind: SCRIPT, text: include_str!("assets/editor.js") },
];
