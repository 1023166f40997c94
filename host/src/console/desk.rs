//! What the console asks, and the answers: a path, JSON in, JSON out. No bytes of HTTP here.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::files::{self, FileError};
use crate::alert::event_in;
use crate::config::Config;
use crate::control::Daemon;
use crate::daemon::Shared;
use crate::explain::{Which, explain};
use crate::hunt;
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::reload::{Inputs, SourceFile};
use crate::ruletest::{self, is_test, stem};
use crate::text::{chain, hex};
use crate::viewers::{ViewError, Viewer, Wish};

/// Answers for the console of a running Picket.
pub struct Desk {
    /// Not held: the daemon ends whoever still looks at it.
    pub daemon: Weak<dyn Daemon>,
    pub shared: Arc<Shared>,
    pub host: String,
    /// One at a time: what loads a set beside the live one must not load many.
    busy: Mutex<()>,
}

/// An answer: its HTTP status and the JSON.
pub type Answer = (u16, Json);

/// Rules that were edited and not saved: what is checked instead of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Question {
    name: String,
    text: Option<String>,
    /// Of the text that was edited; none for a new file.
    digest: Option<String>,
    rule: String,
    event: Json,
}

impl Desk {
    pub fn new(daemon: Weak<dyn Daemon>, shared: Arc<Shared>, host: String) -> Desk {
        Desk { daemon, shared, host, busy: Mutex::default() }
    }

    /// Lets the page watch.
    pub fn watch(&self, wish: &Wish) -> Result<Viewer, ViewError> {
        self.shared.viewers.add(wish)
    }

    /// Answers one question. May take seconds: explanations load rules.
    pub fn answer(&self, what: &str, body: &[u8]) -> Answer {
        let Some(daemon) = self.daemon.upgrade() else { return said(503, "picket is stopping") };
        let question: Question = match body {
            [] => Question::default(),
            body => match serde_json::from_slice(body) {
                Ok(question) => question,
                Err(e) => return said(400, &format!("not a question: {e}")),
            },
        };
        match what {
            "status" => (200, self.status(&*daemon)),
            "rules" => (200, daemon.rules()),
            "alerts" => (200, self.alerts()),
            "file" => match files::find(&self.config().rules, &question.name) {
                Ok(f) => (200, json!({ "name": f.name, "text": f.text, "digest": f.digest })),
                Err(e) => refusal(&e),
            },
            "check" => self.check(&question),
            "save" => self.save(&*daemon, &question),
            "explain" => self.explain(&question),
            "hunt" => self.hunt(&*daemon, &question),
            _ => said(404, "there is no such question"),
        }
    }

    fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    fn status(&self, daemon: &dyn Daemon) -> Json {
        let status = daemon.status();
        json!({
            "host": self.host, "state": status["state"], "version": status["version"], "uptime_s": status["uptime_s"],
            "generation": status["generation"], "viewers": status["viewers"],
            "events": status["ledger"]["events"], "detections": status["ledger"]["detections"],
        })
    }

    fn alerts(&self) -> Json {
        let parse = |line: Arc<[u8]>| serde_json::from_slice::<Json>(&line).ok();
        self.shared.viewers.recent().into_iter().filter_map(parse).collect()
    }

    /// The set on disk with what was edited in place of its file; of tests only those of this file.
    fn inputs(&self, name: &str, text: Option<&str>) -> Result<Inputs, String> {
        let mut inputs = Inputs::read(self.config()).map_err(|e| chain(&e))?;
        inputs.rules.retain(|f| f.name == name || !is_test(&f.name) || stem(&f.name) == stem(name));
        if let Some(text) = text {
            let content: Arc<[u8]> = text.as_bytes().into();
            let edited = inputs.rules.iter_mut().find(|f| f.name == name);
            let edited = edited.ok_or_else(|| format!("no rule file is called `{name}`"))?;
            edited.digest = hex(&<sha2::Sha256 as sha2::Digest>::digest(&content));
            edited.content = content;
        }
        Ok(inputs)
    }

    fn load(inputs: &Inputs) -> Result<Offline, String> {
        Offline::load(inputs, false, Some(inputs.config.state_dir().join("cache"))).map_err(|e| chain(&e))
    }

    /// What loading says about a file, and what its tests say.
    fn check(&self, q: &Question) -> Answer {
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let checked =
            self.inputs(&q.name, q.text.as_deref()).and_then(|inputs| Ok((Self::load(&inputs)?, inputs.rules)));
        match checked {
            Ok((offline, rules)) => (200, findings(offline, &rules, &q.name)),
            Err(why) => said(422, &why),
        }
    }

    /// Writes a file, loads it, and says what is live now.
    fn save(&self, daemon: &dyn Daemon, q: &Question) -> Answer {
        let Some(text) = q.text.as_deref() else { return said(400, "there is nothing to save") };
        if text.len() > files::LONGEST {
            return refusal(&FileError::TooLong { name: q.name.clone() });
        }
        let rules = &self.config().rules;
        let saved = match &q.digest {
            Some(expected) => files::find(rules, &q.name).and_then(|f| files::save(&f, text, expected)),
            None => files::make(rules, &q.name, text),
        };
        let digest = match saved {
            Ok(digest) => digest,
            Err(e) => return refusal(&e),
        };
        tracing::info!(file = %q.name, %digest, "saved from the console");
        let reload = daemon.reload(false, true, None);
        let (status, mut answer) = self.check(&Question { name: q.name.clone(), ..Question::default() });
        if status != 200 {
            answer = json!({ "diagnostics": [], "why": answer["error"] });
        }
        answer["digest"] = digest.into();
        answer["reload"] = reload;
        (200, answer)
    }

    /// What the rules of a file, as it was edited, would have found in the last day.
    fn hunt(&self, daemon: &dyn Daemon, q: &Question) -> Answer {
        if q.name.is_empty() {
            return said(400, "a file has to be named");
        }
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        daemon.flush();
        let found = self.inputs(&q.name, q.text.as_deref()).and_then(|mut inputs| {
            inputs.rules.retain(|f| f.name == q.name || crate::export::is_filter(&f.content));
            let mut recording = Recording::last(&inputs.config.state_dir(), hunt::DAY).map_err(|e| chain(&e))?;
            Ok(hunt::run(Self::load(&inputs)?, &mut recording, &mut |_| {}))
        });
        match found.map(|found| serde_json::to_value(&found)) {
            Ok(Ok(found)) => (200, found),
            Ok(Err(e)) => said(500, &e.to_string()),
            Err(why) => said(422, &why),
        }
    }

    fn explain(&self, q: &Question) -> Answer {
        let Some(event) = event_in(&q.event.to_string()) else { return said(400, "there is no event to explain") };
        let _one = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let explained = self.inputs(&q.name, q.text.as_deref()).and_then(|mut inputs| {
            // One file says everything about its rules, but for those that they name.
            inputs.rules.retain(|f| f.name == q.name);
            let file = Path::new(&q.name);
            let which = Which { id: &q.rule, file: Some(file) };
            explain(Self::load(&inputs)?, which, &event.to_string()).map_err(|e| chain(&e))
        });
        match explained {
            Ok(explanation) => (200, explanation.to_json()),
            Err(why) => said(422, &why),
        }
    }
}

fn findings(offline: Offline, rules: &[SourceFile], name: &str) -> Json {
    let about = |file: &str| file == name || (is_test(file) && stem(file) == stem(name));
    let diagnostics: Vec<_> = offline.generation.diagnostics.iter().filter(|d| about(&d.file)).cloned().collect();
    let report = ruletest::run(offline, rules, false);
    let tests: Vec<_> = report.verdicts.into_iter().filter(|v| about(&v.file)).collect();
    let broken: Vec<_> = report.broken.into_iter().filter(|(file, _)| about(file)).collect();
    json!({ "diagnostics": diagnostics, "tests": tests, "broken_tests": broken })
}

fn said(status: u16, why: &str) -> Answer {
    (status, json!({ "error": why }))
}

fn refusal(e: &FileError) -> Answer {
    let status = match e {
        FileError::Unknown { .. } => 404,
        FileError::Changed { .. } | FileError::Exists { .. } => 409,
        FileError::TooLong { .. } => 413,
        _ => 422,
    };
    said(status, &chain(e))
}
