//! The programs of the object: what their names say, loading, attaching.

use std::fmt::Write as _;

use aya::{
    Btf,
    programs::{Program, ProgramError, kprobe::KProbeLink, tp_btf::BtfTracePointLink},
};
use picket_ebpf::{Kind, Rung};

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
            "tracepoint" => Some(Rung::Tracepoint),
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
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    result.map_err(|error| explain(&error))
}

/// A program at its hook; dropping it detaches the program, which stays loaded.
#[derive(Debug)]
pub enum Attached {
    /// At a BTF raw tracepoint.
    Tracepoint(#[expect(dead_code, reason = "held for its drop")] BtfTracePointLink),
    /// At a kernel function.
    Kprobe(#[expect(dead_code, reason = "held for its drop")] KProbeLink),
}

/// Attaches a loaded program.
pub fn attach(program: &mut Program, spec: &Spec) -> Result<Attached, String> {
    let result = match program {
        Program::BtfTracePoint(p) => p.attach().and_then(|id| p.take_link(id)).map(Attached::Tracepoint),
        Program::KProbe(p) => p.attach(&spec.target, 0).and_then(|id| p.take_link(id)).map(Attached::Kprobe),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    result.map_err(|error| explain(&error))
}

/// An error with its sources, and of a verifier's log only the last lines that say something.
fn explain(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> =
            log.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("processed ")).collect();
        let tail = lines[lines.len().saturating_sub(4)..].join(" | ");
        return if tail.is_empty() { io_error.to_string() } else { format!("{io_error}: {tail}") };
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let _ = write!(text, ": {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
