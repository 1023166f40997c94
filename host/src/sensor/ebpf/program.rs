//! The programs of the object: what their names say, loading, attaching.

use std::fs::File;

use aya::{
    Btf,
    programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError, kprobe::KProbeLink, links::FdLink},
};
use picket_ebpf::{Kind, Rung};

use crate::text::chain;

/// What a program is, read from its name: `<kind>__<rung>[_return][__<attach target>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The kind it reports, `None` for one that serves several.
    pub kind: Option<Kind>,
    /// Its rung, `None` for the iterator.
    pub rung: Option<Rung>,
    /// Kernel function or tracepoint.
    pub target: String,
    /// Whether the kind cannot do without it: its own hook, or the return of it. The others widen
    /// what is seen.
    pub essential: bool,
}

impl Spec {
    /// Reads a program's name; `None` when it is none of ours.
    pub fn parse(name: &str) -> Option<Spec> {
        let mut parts = name.split("__");
        let (kind, hook, target) = (parts.next()?, parts.next()?, parts.next());
        let shared = kind == "shared";
        let of = if shared { None } else { Some(Kind::from_name(kind)?) };
        let (hook, returns) = hook.strip_suffix("_return").map_or((hook, false), |hook| (hook, true));
        let rung = match hook {
            "kprobe" => Some(Rung::Kprobe),
            "tracepoint" | "cgroup" => Some(Rung::Tracepoint),
            "iter" => None,
            _ => return None,
        };
        let essential = target.is_none() || returns || shared;
        Some(Spec { kind: of, rung, target: target.unwrap_or(kind).to_owned(), essential })
    }
}

/// Loads a program into the kernel. The error text ends with the end of the verifier's log.
pub fn load(program: &mut Program, spec: &Spec, btf: &Btf) -> Result<(), String> {
    let result = match program {
        Program::BtfTracePoint(p) => p.load(&spec.target, btf),
        Program::KProbe(p) => p.load(),
        Program::Iter(p) => p.load("task", btf),
        Program::CgroupSkb(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    result.map_err(|error| explain(&error))
}

/// A program at its hook; dropping it detaches the program, which stays loaded.
#[derive(Debug)]
pub enum Attached {
    /// By a link of the kernel's.
    Link(FdLink),
    /// By a perf event, on kernels before 5.15: there is no link to ask about.
    Event(#[expect(dead_code, reason = "held for its drop")] KProbeLink),
}

impl Attached {
    /// The kernel's number for the link.
    pub fn link_id(&self) -> Option<u32> {
        match self {
            Attached::Link(link) => link.info().ok().map(|info| info.id()),
            Attached::Event(_) => None,
        }
    }
}

/// Links never keep others out; the kernel refuses a flag that says so again.
const SHARED: CgroupAttachMode = CgroupAttachMode::Single;

/// The root of the unified hierarchy, as far as this mount namespace shows it.
fn control_groups() -> Result<File, String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(|e| format!("cannot read the mounts: {e}"))?;
    let unified = mounts.lines().map(|line| line.split(' ')).find_map(|mut fields| {
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    });
    let path = unified.ok_or("the unified control group hierarchy (cgroup2) is not mounted")?;
    File::open(path).map_err(|e| format!("cannot open {path}: {e}"))
}

/// The kernel is older than links of this kind.
fn no_link(error: impl std::error::Error + Send + Sync + 'static) -> ProgramError {
    ProgramError::IOError(std::io::Error::other(error))
}

/// Attaches a loaded program.
pub fn attach(program: &mut Program, spec: &Spec) -> Result<Attached, String> {
    let result = match program {
        Program::BtfTracePoint(p) => p.attach().and_then(|id| p.take_link(id)).map(|link| Attached::Link(link.into())),
        Program::KProbe(p) => p.attach(&spec.target, 0).and_then(|id| p.take_link(id)).and_then(|link| {
            if aya::features().bpf_perf_link() {
                Ok(Attached::Link(FdLink::try_from(link).map_err(no_link)?))
            } else {
                Ok(Attached::Event(link))
            }
        }),
        Program::CgroupSkb(p) => {
            let direction = p.expected_attach_type().unwrap_or(CgroupSkbAttachType::Egress);
            let id = p.attach(control_groups()?, direction, SHARED);
            let link = id.and_then(|id| p.take_link(id));
            link.and_then(|link| Ok(Attached::Link(FdLink::try_from(link).map_err(no_link)?)))
        }
        Program::CgroupSockAddr(p) => {
            let id = p.attach(control_groups()?, SHARED);
            let link = id.and_then(|id| p.take_link(id));
            link.and_then(|link| Ok(Attached::Link(FdLink::try_from(link).map_err(no_link)?)))
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    result.map_err(|error| explain(&error))
}

/// An error with its sources, and of a verifier's log only the last lines that say something.
fn explain(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let tail = tail(&verifier_log.to_string());
        return if tail.is_empty() { io_error.to_string() } else { format!("{io_error}: {tail}") };
    }
    chain(error)
}

/// What the verifier says of its work, whatever came of it: of no use to who asks why, and other numbers each time.
const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];

/// The last lines of a verifier's log that say something.
fn tail(log: &str) -> String {
    let says = |line: &&str| !line.trim().is_empty() && !STATISTICS.iter().any(|s| line.starts_with(s));
    let lines: Vec<&str> = log.lines().filter(says).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_statistics_are_no_reason() {
        let log = "one\ntwo\n\nthree\nfour\nwhy it is refused\nverification time 294 usec\nstack depth 0+0\n\
                   processed 0 insns (limit 1000000)\n";
        assert_eq!(tail(log), "two | three | four | why it is refused");
        assert_eq!(tail("verification time 1 usec\n"), "");
    }

    #[test]
    fn names_say_kind_rung_and_target() {
        let kind = Kind::ALL[3];
        let spec = Spec::parse(&format!("{}__kprobe_return__vfs_x", kind.name())).expect("a program's name");
        let expected = Spec { kind: Some(kind), rung: Some(Rung::Kprobe), target: "vfs_x".to_owned(), essential: true };
        assert_eq!(spec, expected);
        let plain = Spec::parse(&format!("{}__tracepoint", kind.name())).expect("a program's name");
        assert_eq!((plain.target.as_str(), plain.essential), (kind.name(), true));
        let wider = Spec::parse(&format!("{}__tracepoint__other", kind.name())).expect("a program's name");
        assert!(!wider.essential);
        assert_eq!(Spec::parse("shared__tracepoint__sys_exit").expect("a program's name").kind, None);
        assert_eq!(Spec::parse("begin_packed"), None);
        assert_eq!(Spec::parse("nothing__kprobe"), None);
    }
}
