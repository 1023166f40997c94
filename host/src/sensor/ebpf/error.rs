//! What can keep the live source from working, each said so that it can be acted on.

use std::{io, path::PathBuf};

/// Why the live source cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// Not enough privilege.
    #[error("loading BPF programs needs root or the capabilities bpf and perfmon; missing: {missing}")]
    NotPermitted {
        /// Names of the missing capabilities.
        missing: String,
    },
    /// The kernel forbids reading kernel memory from BPF, whoever asks.
    #[error("kernel lockdown is 'confidentiality', which forbids BPF programs to read kernel memory")]
    Lockdown,
    /// No type information about the running kernel.
    #[error("no kernel type information (BTF) in {path}; give another file with --btf")]
    NoBtf {
        /// The file that was tried.
        path: PathBuf,
        /// Why it could not be used.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object as a whole was refused.
    #[error("kernel refused the BPF object")]
    Object(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A program that everything depends on was refused.
    #[error("kernel refused BPF program {program}: {reason}")]
    Program {
        /// Name of the program.
        program: String,
        /// The error and the end of the verifier's log.
        reason: String,
    },
    /// A map of the object is missing or of another shape.
    #[error("BPF map {name} cannot be used")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What the map library says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A system call failed.
    #[error("cannot {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The error.
        #[source]
        source: io::Error,
    },
}

impl SensorError {
    pub(super) fn map(name: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        SensorError::Map { name, source: Box::new(source) }
    }
    pub(super) fn io(what: &'static str, source: io::Error) -> Self {
        SensorError::Io { what, source }
    }
}
