//! What the actor does and what the records must say, area by area: each file has an `act`, run in the
//! acting process, and a `check`, run in the observer.

mod calls;
mod code;
pub mod files;
mod network;

use std::{io, path::Path};

use crate::checks::{Observed, Report};

pub fn act(dir: &Path) -> io::Result<()> {
    calls::act(dir)?;
    code::act(dir)?;
    files::act(dir)?;
    network::act(dir)
}

pub fn check(o: &Observed<'_>, r: &mut Report) {
    calls::check(o, r);
    code::check(o, r);
    files::check(o, r);
    network::check(o, r);
}
