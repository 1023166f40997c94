//! Signs that somebody else had their hands in the kernel side.
//!
//! Whoever may use bpf(2) can take our links away, put other programs behind them and write our maps: quieter than killing the
//! process. Nothing in the kernel forbids it to root, so it is looked for.

use std::os::fd::AsFd as _;

use picket_ebpf::Kind;

use super::{Counters, Ebpf, SensorError, sys};

/// One sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// A program is not at its hook any more.
    Link { program: String, why: &'static str },
    /// A map does not hold what we wrote. `entry` says which part of it.
    Map { map: &'static str, entry: String, found: String },
}

impl Ebpf {
    /// Looks whether every program still is where it was attached. A link that is gone is forgotten, so that the next
    /// [`Ebpf::probe`] attaches anew.
    pub fn check_links(&mut self) -> Vec<Tamper> {
        let mut signs = Vec::new();
        for (name, entry) in &mut self.programs {
            let (Some(_), Some(held)) = (&entry.attached, entry.held) else { continue };
            let ours = self.object.program(name).and_then(|p| p.fd().ok()).map(|fd| sys::program_info(fd.as_fd()));
            let why = match (held.info(), ours) {
                (None, _) => "its link is gone",
                (Some(link), _) if link.severed => "its link was detached",
                (Some(link), Some(Ok(program))) if link.program != program.id => "its link runs another program",
                _ => continue,
            };
            signs.push(Tamper::Link { program: name.clone(), why });
            entry.release();
        }
        signs
    }

    /// Looks whether the maps hold what we wrote, and writes it again.
    ///
    /// # Errors
    /// When a map cannot be read or written at all.
    pub fn check_maps(&mut self, counters: &Counters) -> Result<Vec<Tamper>, SensorError> {
        let mut signs = Vec::new();
        self.check_interest(&mut signs)?;
        let config = self.config.get(&0, 0).map_err(|e| SensorError::map("CONFIG", e))?;
        if config != self.own_config {
            let found = format!("own process {}, canary {}", config[0], config[1]);
            signs.push(Tamper::Map { map: "CONFIG", entry: "its only entry".to_owned(), found });
            self.config.set(0, self.own_config, 0).map_err(|e| SensorError::map("CONFIG", e))?;
        }
        for (&kind, count) in &counters.kinds {
            let before = self.runs_seen.insert(kind, count.run).unwrap_or(0);
            if count.run < before {
                let found = format!("{} runs after {before}", count.run);
                signs.push(Tamper::Map { map: "COUNTERS", entry: kind.name().to_owned(), found });
            }
        }
        Ok(signs)
    }

    fn check_interest(&mut self, signs: &mut Vec<Tamper>) -> Result<(), SensorError> {
        for &kind in Kind::ALL {
            let wanted = self.interest_written.get(&kind).copied().unwrap_or_default();
            let key = u32::from(kind.id());
            let found = self.interest.get(&key, 0).map_err(|e| SensorError::map("INTEREST", e))?;
            if found != wanted {
                let found = format!("flags {:#x}, rung {}", found[0], found[1]);
                signs.push(Tamper::Map { map: "INTEREST", entry: kind.name().to_owned(), found });
                self.interest.set(key, wanted, 0).map_err(|e| SensorError::map("INTEREST", e))?;
            }
        }
        Ok(())
    }
}
