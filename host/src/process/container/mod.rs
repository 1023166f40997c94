//! The container a process is in: its id from the name of the control group, the rest from the runtime.
//!
//! The id is known as soon as the process is: it is part of the record. Name, image, pod and labels are asked for once for
//! each container, on a thread of its own ([`super::lookup`]); events before the answer carry the id only, and nothing waits.

mod engine;
mod name;
mod state;

pub(super) use engine::Engines;
pub(super) use name::{of_leaf, of_process};
pub(super) use state::StateDirs;

#[cfg(test)]
pub(super) use engine::tests;

/// A container as far as it is known; what is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub id: Box<str>,
    /// `docker`, `podman`, `containerd` or `cri-o`.
    pub runtime: Option<Box<str>>,
    pub name: Option<Box<str>>,
    pub image: Option<Box<str>>,
    pub pod: Option<Box<str>>,
    pub namespace: Option<Box<str>>,
    /// `key=value`, in the order of the keys.
    pub labels: Box<[Box<[u8]>]>,
}

/// Labels kept of one container, and bytes kept of each text: a runtime says what its users told it.
const LABELS: usize = 64;
const TEXT: usize = 1024;

impl Container {
    /// Sets what Kubernetes tells every runtime about a container of a pod.
    fn kubernetes<'a>(&mut self, value: impl Fn(&str) -> Option<&'a str>) {
        let first = |keys: &[&str]| keys.iter().find_map(|k| text(value(k)));
        self.pod = first(&["io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name"]);
        self.namespace = first(&["io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace"]);
        // The runtime's own name of such a container is made of all of these.
        if let Some(name) = first(&["io.kubernetes.container.name", "io.kubernetes.cri.container-name"]) {
            self.name = Some(name);
        }
    }
}

/// Labels from a JSON object, bounded.
fn labels(json: Option<&serde_json::Value>) -> Box<[Box<[u8]>]> {
    let Some(object) = json.and_then(serde_json::Value::as_object) else { return Box::default() };
    let pair = |(k, v): (&String, &serde_json::Value)| Some(cut(&format!("{k}={}", v.as_str()?)).as_bytes().into());
    let mut labels: Vec<Box<[u8]>> = object.iter().filter_map(pair).collect();
    labels.sort_unstable();
    labels.truncate(LABELS);
    labels.into()
}

/// A text that says something, bounded.
fn text(value: Option<&str>) -> Option<Box<str>> {
    value.filter(|t| !t.is_empty()).map(|t| cut(t).into())
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default()
}
