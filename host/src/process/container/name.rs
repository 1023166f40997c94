//! What the name of a control group says: the container's id, and often who runs it.
//!
//! A record holds only the last component. With systemd as the driver it reads `docker-<id>.scope`; with cgroupfs it is the bare
//! id; below Podman's scope and inside containers that run systemd themselves it says nothing (`container`, `nginx.service`),
//! and only the whole path in `/proc/PID/cgroup` does.

/// What precedes the id, and the runtime it stands for. `crio-conmon-` and the like are monitors outside of the container:
/// what follows the prefix is not an id then.
const PREFIXES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
];

/// Directories that one runtime puts its bare ids into.
const PARENTS: &[(&str, &str)] = &[("docker", "docker"), ("libpod_parent", "podman")];

/// Hexadecimal digits of a container id.
const ID: usize = 64;

/// A container as the name of its control group shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Named<'n> {
    pub id: &'n str,
    pub runtime: Option<&'static str>,
}

/// The container that the last component of a control group's path names.
pub(in crate::process) fn of_leaf(leaf: &[u8]) -> Option<Named<'_>> {
    let leaf = std::str::from_utf8(leaf).ok()?;
    let leaf = leaf.strip_suffix(".scope").unwrap_or(leaf);
    let is_id = |id: &str| id.len() == ID && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_id(leaf) {
        return Some(Named { id: leaf, runtime: None });
    }
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = leaf.strip_prefix(prefix).filter(|id| is_id(id))?;
        Some(Named { id, runtime: Some(runtime) })
    })
}

/// The innermost container on a control group's path.
fn of_path(path: &str) -> Option<Named<'_>> {
    let mut inner = path.rsplit('/');
    let mut named = inner.find_map(|part| of_leaf(part.as_bytes()))?;
    if named.runtime.is_none() {
        let parent = inner.next();
        named.runtime = PARENTS.iter().find(|(name, _)| Some(*name) == parent).map(|(_, runtime)| *runtime);
    }
    Some(named)
}

/// The container that `/proc/PID/cgroup` shows for the process whose record had this `leaf`.
///
/// A leaf without an id counts only in the unified hierarchy, where the record's cgroup id tells equal names apart.
pub(in crate::process) fn of_process<'n>(cgroups: &'n str, leaf: &[u8]) -> Option<Named<'n>> {
    let named = of_leaf(leaf);
    cgroups
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .filter(|(controllers, _)| named.is_some() || controllers.is_empty())
        .map(|(_, path)| path.strip_suffix(" (deleted)").unwrap_or(path))
        .filter(|path| path.rsplit('/').next().is_some_and(|last| last.as_bytes() == leaf))
        .find_map(of_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c";

    #[test]
    fn leaves_of_every_runtime() {
        let runtime = |leaf: &str| of_leaf(leaf.as_bytes()).map(|n| (n.id == HEX, n.runtime));
        assert_eq!(runtime(HEX), Some((true, None)));
        assert_eq!(runtime(&format!("docker-{HEX}.scope")), Some((true, Some("docker"))));
        assert_eq!(runtime(&format!("cri-containerd-{HEX}.scope")), Some((true, Some("containerd"))));
        assert_eq!(runtime(&format!("crio-{HEX}.scope")), Some((true, Some("cri-o"))));
        assert_eq!(runtime(&format!("crio-{HEX}")), Some((true, Some("cri-o"))));
        assert_eq!(runtime(&format!("libpod-{HEX}.scope")), Some((true, Some("podman"))));
        assert_eq!(runtime(&format!("libpod-payload-{HEX}")), Some((true, Some("podman"))));
    }

    #[test]
    fn units_and_monitors_are_no_containers() {
        let monitor = format!("crio-conmon-{HEX}.scope");
        let other = format!("libpod-conmon-{HEX}.scope");
        let short = format!("docker-{}.scope", &HEX[1..]);
        let upper = HEX.to_uppercase();
        for leaf in
            ["nginx.service", "session-3.scope", "init.scope", "", "/", "container", &monitor, &other, &short, &upper]
        {
            assert_eq!(of_leaf(leaf.as_bytes()), None, "{leaf}");
        }
        assert_eq!(of_leaf(b"docker-\xff.scope"), None);
    }

    #[test]
    fn the_whole_path_says_what_the_leaf_does_not() {
        let podman = format!("0::/machine.slice/libpod-{HEX}.scope/container\n");
        assert_eq!(of_process(&podman, b"container"), Some(Named { id: HEX, runtime: Some("podman") }));
        let inside = format!("0::/system.slice/docker-{HEX}.scope/system.slice/nginx.service\n");
        assert_eq!(of_process(&inside, b"nginx.service").unwrap().runtime, Some("docker"));
        let v1 = format!("12:pids:/docker/{HEX}\n1:name=systemd:/docker/{HEX}\n0::/\n");
        assert_eq!(of_process(&v1, HEX.as_bytes()), Some(Named { id: HEX, runtime: Some("docker") }));
        let pod = format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope\n");
        let leaf = format!("cri-containerd-{HEX}.scope");
        assert_eq!(of_process(&pod, leaf.as_bytes()).unwrap().id, HEX);
    }

    #[test]
    fn what_would_be_a_guess_is_not_said() {
        // Several containers may have a v1 group of this name, and the record's id is the root's for all of them.
        let v1 = format!("12:pids:/libpod_parent/libpod-{HEX}/container\n0::/\n");
        assert_eq!(of_process(&v1, b"container"), None);
        // The process has moved on since the record was written.
        assert_eq!(of_process(&format!("0::/docker/{HEX}\n"), b"nginx.service"), None);
        assert_eq!(of_process("0::/system.slice/nginx.service\n", b"nginx.service"), None);
    }
}
