//! What each program of the kernel side is and costs, as the kernel says it.

use std::os::fd::{AsFd as _, RawFd};

use aya::programs::Program;
use picket_ebpf::Kind;
use serde::Serialize;

use super::program::{Attached, Spec};
use super::{Ebpf, Entry, SensorError, sys};

/// A program of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Probe {
    pub program: String,
    /// The kind it reports; none for one that serves several.
    pub kind: Option<&'static str>,
    /// Where it is attached, or would be.
    pub target: String,
    pub attached: bool,
    /// Why the kernel does not load it.
    pub refused: Option<String>,
    /// Instructions that the verifier followed over all paths; 0 before 5.16.
    pub verified_instructions: u32,
    /// Bytes of BPF code.
    pub code_bytes: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
    /// Calls of kernel helpers in the code; one in a loop counts once.
    pub helper_calls: u32,
    /// Runs and their time while the kernel measured: `picket status --cost` makes it.
    pub runs: u64,
    pub run_ns: u64,
    /// Hits that did not run it.
    pub missed: u64,
}

/// What was learnt about a link at its attachment.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The kernel's number for it.
    pub id: u32,
    /// Its descriptor, which stays open as long as the link is held.
    pub fd: RawFd,
}

impl Ebpf {
    /// Every program, in the order of the names.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn probes(&self) -> Result<Vec<Probe>, SensorError> {
        let failed = |e| SensorError::io("ask about a BPF program", e);
        let mut probes = Vec::new();
        for (name, entry) in &self.programs {
            let mut probe = Probe {
                program: name.clone(),
                kind: entry.spec.kind.map(Kind::name),
                target: entry.spec.target.clone(),
                attached: entry.attached.is_some(),
                refused: entry.load_error.clone(),
                helper_calls: entry.helper_calls,
                ..Probe::default()
            };
            let fd = self.object.program(name).filter(|_| entry.load_error.is_none()).and_then(|p| p.fd().ok());
            if let Some(fd) = fd {
                let info = sys::program_info(fd.as_fd()).map_err(failed)?;
                probe.verified_instructions = info.verified;
                probe.code_bytes = info.translated;
                probe.machine_bytes = info.machine;
                probe.runs = info.runs;
                probe.run_ns = info.run_ns;
                probe.missed = info.skipped + entry.missed();
            }
            probes.push(probe);
        }
        Ok(probes)
    }

    /// Notes how to ask about links that are new.
    pub(super) fn find_links(&mut self) {
        let is_new = |e: &Entry| e.held.is_none() && e.attached.is_some();
        if !self.programs.values().any(is_new) {
            return;
        }
        let links = sys::links();
        for entry in self.programs.values_mut().filter(|e| is_new(e)) {
            let id = entry.attached.as_ref().and_then(Attached::link_id);
            entry.held = id.and_then(|id| Some(Held { id, fd: *links.get(&id)? }));
        }
    }

    /// Whether attaching needs the right to change the network.
    pub fn has_network_hooks(&self) -> bool {
        self.object.programs().any(|(_, program)| matches!(program, Program::CgroupSkb(_)))
    }

    /// Counts the helper calls of each program; once, they do not change.
    pub(super) fn count_helper_calls(&mut self) {
        for (name, entry) in &mut self.programs {
            let Some(fd) = self.object.program(name).and_then(|p| p.fd().ok()) else { continue };
            let calls = sys::program_info(fd.as_fd()).and_then(|i| sys::helper_calls(fd.as_fd(), i.translated));
            // A kernel that hides the code of its programs shows none.
            entry.helper_calls = calls.unwrap_or_default();
        }
    }
}

impl Entry {
    pub(super) fn new(spec: Spec, load_error: Option<String>) -> Entry {
        Entry { spec, load_error, attached: None, held: None, missed_before: 0, helper_calls: 0 }
    }

    /// Takes the program from its hook. What its link counted goes with it, so it is added up before.
    pub(super) fn release(&mut self) {
        self.missed_before += self.held.take().map_or(0, Held::missed);
        self.attached = None;
    }

    /// Hits of a kernel probe that did not run the program, over all its links.
    pub(super) fn missed(&self) -> u64 {
        self.missed_before + self.held.map_or(0, Held::missed)
    }
}

impl Held {
    /// What the kernel says now, if the descriptor still is this link.
    pub(super) fn info(self) -> Option<sys::LinkInfo> {
        sys::link_info(self.fd).ok().filter(|info| info.id == self.id)
    }

    pub(super) fn missed(self) -> u64 {
        self.info().map_or(0, |info| info.missed)
    }
}
