//! The one guest value behind the exported functions: components have no `self`.

use std::cell::RefCell;

use crate::{Detector, Diagnostic, Enricher, Explain, Memory, Plan, Setup};

/// Holds at compile time that a type can be exported.
pub const fn detects<T: Detector>() {}

/// Holds at compile time that a type can be exported.
pub const fn explains<T: Explain>() {}

/// Holds at compile time that a type can be exported.
pub const fn remembers<T: Memory>() {}

/// Holds at compile time that a type can be exported.
pub const fn enriches<T: Enricher>() {}

/// Holds a guest between calls.
#[derive(Debug)]
pub struct Seated<T>(RefCell<Option<T>>);

impl<T> Seated<T> {
    pub const fn empty() -> Seated<T> {
        Seated(RefCell::new(None))
    }

    /// Runs `init` with panics reported to the host, and keeps the guest.
    pub fn init(
        &self,
        setup: Setup,
        init: impl FnOnce(Setup) -> Result<(T, Plan), Vec<Diagnostic>>,
    ) -> Result<Plan, Vec<Diagnostic>> {
        #[cfg(target_arch = "wasm32")]
        report_panics();
        let (guest, plan) = init(setup)?;
        *self.0.borrow_mut() = Some(guest);
        Ok(plan)
    }

    /// # Panics
    /// Before a successful `init`: the host never calls so.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(self.0.borrow_mut().as_mut().expect("the host calls init first"))
    }
}

/// The target has no standard error: without this, a panic is only `unreachable`.
#[cfg(target_arch = "wasm32")]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::host::log(crate::host::Severity::Error, &panic.to_string());
    }));
}
