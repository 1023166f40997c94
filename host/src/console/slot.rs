//! The console of a running Picket, open or not.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value as Json, json};

use super::Desk;
use crate::control::{Daemon, Page};
use crate::daemon::Shared;
use crate::host_facts;
use crate::text::chain;

/// At most one console.
pub struct Slot {
    daemon: Weak<dyn Daemon>,
    page: Mutex<Option<Page>>,
}

impl Slot {
    pub fn new(daemon: Weak<dyn Daemon>) -> Slot {
        Slot { daemon, page: Mutex::default() }
    }

    /// Opens it unless it is open; a link that lets one in.
    pub fn link(&self, shared: &Arc<Shared>) -> Json {
        let config = &shared.config.load().console;
        if !config.enabled {
            return json!({ "error": "the config says console.enabled = false" });
        }
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        let link = if let Some(open) = &*page {
            open.link()
        } else {
            let desk = Desk::new(self.daemon.clone(), shared.clone(), host_facts::origin().hostname);
            match Page::open(config.port, desk) {
                Ok(opened) => page.insert(opened).link(),
                Err(e) => return json!({ "error": chain(&e) }),
            }
        };
        match link {
            Ok(link) => json!({ "url": link }),
            Err(e) => json!({ "error": format!("no token can be made: {e}") }),
        }
    }

    /// Closes it; whether it was open.
    pub fn close(&self) -> bool {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}
