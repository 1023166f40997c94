//! What the actor does and what the records must say, area by area: each file has an `act`, run in the
//! acting process, and a `check`, run in the observer.

mod calls;
mod code;
pub mod files;
mod network;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command},
    thread,
};

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

/// A child that is the program already: `spawn` may return before the kernel has given it the program's name,
/// and what is done to it until then is done to a copy of the actor.
fn spawned(command: &mut Command) -> io::Result<Child> {
    let child = command.spawn()?;
    // Opened once: each open is an event, and a run must not have more of them than the next.
    let comm = File::open(format!("/proc/{}/comm", child.id()))?;
    let name = command.get_program().as_encoded_bytes();
    let mut text = [0; 16];
    loop {
        let read = comm.read_at(&mut text, 0)?;
        if text[..read].trim_ascii_end() == name {
            return Ok(child);
        }
        thread::yield_now();
    }
}
