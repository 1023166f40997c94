//! The fixtures: what the YAML files beside this one say, and the stimuli that it becomes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::spec::{Content, Spec, SpecFile};

/// `process_creation.yml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandIns {
    fixtures: Vec<StandIn>,
}

/// One rule and the stand-in that fires it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandIn {
    rule: String,
    #[serde(flatten)]
    program: Option<Program>,
    parent: Option<Program>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    uid: u32,
    cannot_fire: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Program {
    path: PathBuf,
    argv: Vec<String>,
}

/// `real.yml`, `file_event.yml`, `network.yml` and `own.yml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acts {
    acts: Vec<Act>,
}

/// One program that is run for one rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    rule: String,
    name: String,
    #[serde(default)]
    argv: Vec<String>,
    program: Option<String>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    hide: Vec<PathBuf>,
    #[serde(default)]
    files: Vec<SpecFile>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    names: BTreeMap<String, Ipv4Addr>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    input: String,
    needs: Option<String>,
    expected: Option<Expected>,
    cannot_fire: Option<String>,
    why: Option<String>,
}

/// What a stimulus must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// The rule fires.
    Detected,
    /// The rule does not fire although it should: a way around it.
    Missed,
    /// The rule does not fire, and rightly.
    Silent,
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Detected => "detected",
            Self::Missed => "missed",
            Self::Silent => "silent",
        })
    }
}

/// One thing to do for one rule, and what must come of it.
#[derive(Debug)]
pub struct Stimulus {
    /// The name of its file, without `.yml`.
    pub fixture: &'static str,
    /// The file name of the rule.
    pub rule: String,
    pub name: String,
    pub action: Action,
    pub expected: Expected,
    pub why: String,
    /// The executable that the alert must name. Acts leave it open: the rule may be about a child of what they run.
    pub image: Option<PathBuf>,
    /// Present in the path of everything that this stimulus runs or runs in, and in that of nothing else.
    pub marker: String,
    /// Its own directory, named by the marker.
    pub directory: PathBuf,
}

#[derive(Debug)]
pub enum Action {
    Run(Box<Spec>),
    /// Why it cannot be run: the rule cannot fire, or a program is not installed.
    Skip(String),
}

/// Loads the fixtures; each stimulus gets a directory (not made yet) below `scratch`.
pub struct Loader<'a> {
    /// Where the YAML files are.
    pub fixtures: &'a Path,
    /// The program that does nothing.
    pub stand_in: &'a Path,
    /// A directory whose name occurs nowhere else.
    pub scratch: &'a Path,
}

impl Loader<'_> {
    /// The stand-ins for the process rules of the corpus.
    pub fn stand_ins(&self) -> Vec<Stimulus> {
        let StandIns { fixtures } = self.read("process_creation");
        let stimuli = fixtures.into_iter().enumerate().map(|(index, fixture)| {
            let (marker, directory) = self.place("process_creation", index);
            let image = fixture.program.as_ref().map(|program| program.path.clone());
            let action = match (&fixture.program, &fixture.cannot_fire) {
                (Some(program), None) => Action::Run(Box::new(self.stand_in_spec(program, &fixture, &directory))),
                (None, Some(reason)) => Action::Skip(reason.clone()),
                _ => panic!("{}: give path and argv, or cannot_fire", fixture.rule),
            };
            Stimulus {
                fixture: "process_creation",
                name: "stand-in".to_owned(),
                action,
                expected: Expected::Detected,
                why: fixture.note.unwrap_or_default(),
                rule: fixture.rule,
                image,
                marker,
                directory,
            }
        });
        stimuli.collect()
    }

    /// The acts of one file.
    pub fn acts(&self, fixture: &'static str) -> Vec<Stimulus> {
        let Acts { acts } = self.read(fixture);
        let stimuli = acts.into_iter().enumerate().map(|(index, act)| {
            let (marker, directory) = self.place(fixture, index);
            let (action, expected) = match (act.expected, &act.cannot_fire) {
                (Some(expected), None) => (act_action(&act, &directory), expected),
                (None, Some(reason)) => (Action::Skip(reason.clone()), Expected::Missed),
                _ => panic!("{} ({}): give expected, or cannot_fire", act.rule, act.name),
            };
            let why = act.why.unwrap_or_default();
            Stimulus { fixture, rule: act.rule, name: act.name, action, expected, why, image: None, marker, directory }
        });
        stimuli.collect()
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, fixture: &str) -> T {
        let path = self.fixtures.join(fixture).with_extension("yml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A marker that no other stimulus's marker contains, and the directory of that name.
    fn place(&self, fixture: &str, index: usize) -> (String, PathBuf) {
        let nonce = self.scratch.file_name().unwrap_or_default().to_string_lossy();
        let marker = format!("{fixture}-{index:03}-{nonce}");
        let directory = self.scratch.join(&marker);
        (marker, directory)
    }

    fn stand_in_spec(&self, program: &Program, fixture: &StandIn, directory: &Path) -> Spec {
        let programs = || std::iter::once(program).chain(&fixture.parent);
        let mut hide: Vec<PathBuf> =
            programs().filter_map(|program| program.path.parent()).map(Path::to_owned).collect();
        hide.extend(fixture.cwd.clone());
        let started = fixture.parent.as_ref().unwrap_or(program);
        let mut env = Vec::new();
        if fixture.parent.is_some() {
            env.push(("STAND_IN_CHILD".to_owned(), program.path.display().to_string()));
            let arguments = program.argv.iter().enumerate();
            env.extend(arguments.map(|(index, argument)| (format!("STAND_IN_CHILD_ARG_{index}"), argument.clone())));
        }
        Spec {
            hide,
            files: programs()
                .map(|program| SpecFile {
                    path: program.path.clone(),
                    content: Content::Copy(self.stand_in.to_owned()),
                })
                .collect(),
            addresses: Vec::new(),
            names: Vec::new(),
            uid: fixture.uid,
            cwd: fixture.cwd.clone().unwrap_or_else(|| directory.to_owned()),
            program: started.path.clone(),
            argv: started.argv.clone(),
            env,
            input: String::new(),
        }
    }
}

fn act_action(act: &Act, directory: &Path) -> Action {
    if let Some(missing) = missing_program(act) {
        let package = act.needs.as_deref().unwrap_or("base system");
        return Action::Skip(format!("{missing} is not installed (package: {package})"));
    }
    let fill = |text: &str| text.replace("{dir}", &directory.display().to_string());
    let argv: Vec<String> = act.argv.iter().map(|argument| fill(argument)).collect();
    let program = act.program.as_ref().or(act.argv.first()).map(|program| fill(program)).unwrap_or_default();
    let file = |file: &SpecFile| SpecFile { path: directory.join(&file.path), content: file.content.clone() };
    Action::Run(Box::new(Spec {
        hide: act.hide.clone(),
        files: act.files.iter().map(file).collect(),
        addresses: act.addresses.clone(),
        names: act.names.clone().into_iter().collect(),
        uid: act.uid,
        cwd: directory.join(act.cwd.as_deref().unwrap_or(Path::new(""))),
        program: program.into(),
        argv,
        env: Vec::new(),
        input: act.input.clone(),
    }))
}

/// The first program that the act needs and this host does not have.
fn missing_program(act: &Act) -> Option<String> {
    let sources = act.files.iter().filter_map(|file| match &file.content {
        Content::Copy(source) | Content::Link(source) if source.starts_with("/usr/bin") => {
            Some(source.display().to_string())
        }
        _ => None,
    });
    // Words that start with a dot or a brace are made by the act itself; so are those below a hidden directory.
    let made = |program: &str| {
        program.starts_with(['.', '{']) || act.hide.iter().any(|hidden| Path::new(program).starts_with(hidden))
    };
    let network = (!act.addresses.is_empty() || !act.names.is_empty()).then(|| "ip".to_owned());
    let program = act.program.as_ref().or(act.argv.first()).filter(|program| !made(program)).cloned();
    sources.chain(network).chain(program).find(|program| !is_installed(program))
}

fn is_installed(program: &str) -> bool {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    if program.starts_with('/') {
        Path::new(program).exists()
    } else {
        directories.iter().any(|path| Path::new(path).join(program).exists())
    }
}
