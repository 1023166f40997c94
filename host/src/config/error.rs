//! What can be wrong with a config.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::layer::{Layer, Origin};
use crate::detection::{Diagnostic, Gravity};

/// Why there is no config.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read config {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any config.
    #[error("config {} is larger than {} bytes", path.display(), super::MAX_FILE)]
    TooLarge { path: PathBuf },
    /// The file is text of another kind.
    #[error("config {} is not UTF-8", path.display())]
    NotText { path: PathBuf },
    /// Something in the file, the environment or on the command line is not a setting.
    #[error("{0}")]
    Invalid(Faults),
}

impl ConfigError {
    /// The same as findings with their places, for machines.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let whole = |path: &PathBuf| Fault::new(Origin::of(Layer::File(path.clone())), self.to_string());
        match self {
            ConfigError::Read { path, source } => {
                let mut fault = whole(path);
                fault.message = format!("{}: {source}", fault.message);
                vec![fault.diagnostic()]
            }
            ConfigError::TooLarge { path } | ConfigError::NotText { path } => vec![whole(path).diagnostic()],
            ConfigError::Invalid(faults) => faults.0.iter().map(Fault::diagnostic).collect(),
        }
    }
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    pub(super) fn new(origin: Origin, message: impl Into<String>) -> Fault {
        Fault { origin, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: Option<String>) -> Fault {
        self.help = help;
        self
    }

    fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            gravity: Gravity::Error,
            code: "config".to_owned(),
            message: self.message.clone(),
            help: self.help.clone().unwrap_or_default(),
            file: match &self.origin.layer {
                Layer::File(path) => path.display().to_string(),
                other => Origin::of(other.clone()).to_string(),
            },
            line: self.origin.line,
            column: self.origin.column,
            length: 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, ", {help}"))
    }
}

/// Everything that is wrong, one a line, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}
