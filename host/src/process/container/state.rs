//! What runtimes leave on disk about their containers: no socket is needed, and the file is there before the container starts.
//!
//! containerd and CRI-O answer questions over gRPC only (CRI); their state directories hold the same names, but not the pod's
//! labels in containerd's case.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Container, labels, text};

/// Most of a file that is read.
const MOST: u64 = 4 << 20;

/// Namespaces of containerd that are looked through.
const NAMESPACES: usize = 64;

/// Where runtimes keep their state.
#[derive(Clone, Debug, Default)]
pub(in crate::process) struct StateDirs {
    /// containerd: `<dir>/<namespace>/<id>/config.json`.
    pub containerd: PathBuf,
    /// CRI-O and Podman: `<dir>/overlay-containers/...`.
    pub storage: Vec<PathBuf>,
}

impl StateDirs {
    /// What the files say about the container; `None` when none of them knows it. `id` is hexadecimal.
    pub fn describe(&self, id: &str) -> Option<Container> {
        self.containerd(id).or_else(|| self.storage.iter().find_map(|dir| stored(dir, id)))
    }

    fn containerd(&self, id: &str) -> Option<Container> {
        let namespaces = std::fs::read_dir(&self.containerd).ok()?.flatten().take(NAMESPACES);
        namespaces.into_iter().find_map(|entry| {
            let spec = read(&entry.path().join(id).join("config.json"))?;
            let mut container = Container { id: id.into(), ..of_spec(&spec) };
            // Docker runs its containers by containerd, in this namespace.
            container.runtime = Some(if entry.file_name() == "moby" { "docker" } else { "containerd" }.into());
            Some(container)
        })
    }
}

/// From a directory of containers/storage: the container's OCI configuration, or the list of all containers.
fn stored(dir: &Path, id: &str) -> Option<Container> {
    let containers = dir.join("overlay-containers");
    if let Some(spec) = read(&containers.join(id).join("userdata/config.json")) {
        let container = Container { id: id.into(), ..of_spec(&spec) };
        // Podman writes this file as well, but no name into it.
        if container.name.is_some() {
            return Some(container);
        }
    }
    // The second one holds those that are removed when they end.
    ["containers.json", "volatile-containers.json"].iter().find_map(|file| {
        let list = read(&containers.join(file))?;
        let entry = list.as_array()?.iter().find(|c| c["id"] == id)?;
        let metadata: Json = serde_json::from_str(entry["metadata"].as_str()?).ok()?;
        let mut container = Container { id: id.into(), ..Container::default() };
        container.image = text(metadata["image-name"].as_str());
        container.pod = text(metadata["pod-name"].as_str());
        container.namespace = text(metadata["namespace"].as_str());
        container.name = text(metadata["metadata-name"].as_str()).or_else(|| text(metadata["name"].as_str()));
        container.name = container.name.or_else(|| text(entry["names"][0].as_str()));
        Some(container)
    })
}

/// What the annotations of an OCI runtime configuration tell.
fn of_spec(spec: &Json) -> Container {
    let annotations = &spec["annotations"];
    let value = |key: &str| annotations[key].as_str();
    let mut container = Container::default();
    container.kubernetes(value);
    container.image = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"]
        .iter()
        .find_map(|key| text(value(key)));
    if let Some(kept) = value("io.kubernetes.cri-o.Labels") {
        container.labels = labels(serde_json::from_str(kept).ok().as_ref());
        container.runtime = Some("cri-o".into());
    }
    container
}

fn read(path: &Path) -> Option<Json> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aa1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c";

    fn write(path: &Path, json: &Json) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, json.to_string()).unwrap();
    }

    #[test]
    fn containerd_and_kubernetes() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs { containerd: dir.path().into(), storage: Vec::new() };
        assert_eq!(dirs.describe(ID), None);
        let spec = serde_json::json!({"ociVersion": "1.1.0", "annotations": {
            "io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27", "io.kubernetes.cri.sandbox-id": "b",
            "io.kubernetes.cri.sandbox-name": "web-5d4", "io.kubernetes.cri.sandbox-namespace": "shop"}});
        write(&dir.path().join("k8s.io").join(ID).join("config.json"), &spec);
        let found = dirs.describe(ID).unwrap();
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.image.as_deref(), Some("docker.io/library/nginx:1.27"));
        assert_eq!((found.pod.as_deref(), found.namespace.as_deref()), (Some("web-5d4"), Some("shop")));
        assert_eq!(found.runtime.as_deref(), Some("containerd"));
    }

    #[test]
    fn cri_o() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs { containerd: "/nonexistent".into(), storage: vec![dir.path().into()] };
        let spec = serde_json::json!({"annotations": {
            "io.kubernetes.container.name": "db", "io.kubernetes.pod.name": "db-0", "io.kubernetes.pod.namespace": "data",
            "io.kubernetes.cri-o.ImageName": "quay.io/acme/db:3", "io.kubernetes.cri-o.Labels": "{\"tier\":\"back\",\"app\":\"db\"}"}});
        write(&dir.path().join("overlay-containers").join(ID).join("userdata/config.json"), &spec);
        let found = dirs.describe(ID).unwrap();
        assert_eq!((found.name.as_deref(), found.pod.as_deref()), (Some("db"), Some("db-0")));
        assert_eq!(found.labels.iter().map(|l| &**l).collect::<Vec<_>>(), [&b"app=db"[..], b"tier=back"]);
        assert_eq!(found.runtime.as_deref(), Some("cri-o"));
    }

    #[test]
    fn podman_without_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs { containerd: "/nonexistent".into(), storage: vec![dir.path().into()] };
        let at = dir.path().join("overlay-containers");
        write(
            &at.join(ID).join("userdata/config.json"),
            &serde_json::json!({"annotations": {"io.container.manager": "libpod"}}),
        );
        let metadata = serde_json::json!({"image-name": "localhost/tool:latest", "name": "eager_bell"}).to_string();
        write(&at.join("containers.json"), &serde_json::json!([{"id": "0", "metadata": "{}"}]));
        write(
            &at.join("volatile-containers.json"),
            &serde_json::json!([{"id": ID, "names": ["eager_bell"], "metadata": metadata}]),
        );
        let found = dirs.describe(ID).unwrap();
        assert_eq!(
            (found.name.as_deref(), found.image.as_deref()),
            (Some("eager_bell"), Some("localhost/tool:latest"))
        );
    }

    #[test]
    fn broken_files_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs { containerd: dir.path().into(), storage: vec![dir.path().into()] };
        let at = dir.path().join("ns").join(ID);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join("config.json"), "{\"annotations\": [").unwrap();
        assert_eq!(dirs.describe(ID), None);
        std::fs::write(at.join("config.json"), "[1]").unwrap();
        assert_eq!(dirs.describe(ID).and_then(|c| c.name), None);
    }
}
