//! What is found out about a process besides its own records, with the real kernel: its container, its user, its file's hash.
//! No container engine runs here: a stand-in speaks its API over a real socket, for a control group that is really one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use picket_tests::{Live, Run, able, guests, one_at_a_time, wait_until};
use serde_json::Value;

fn rule(number: u32, title: &str, detection: &str) -> String {
    format!(
        "title: {title}\nid: 5b7ecb0f-9f31-4a5c-8b1d-0d5f4d{number:06x}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection: {{s: {{{detection}}}, condition: s}}\nlevel: low\n"
    )
}

fn start(run: &Run, more: &[&str]) -> Option<Live> {
    let guests = guests().to_string_lossy().into_owned();
    Live::start(run, &[&["--rules", "rules", "--guests", &guests, "--no-deliver"], more].concat())
}

fn titled<'a>(alerts: &'a [Value], title: &str) -> Vec<&'a Value> {
    alerts.iter().filter(|a| a["rule"]["title"] == title).collect()
}

/// The event of an alert makes the same alert again, anywhere.
fn replays(run: &Run, alert: &Value) {
    let file = run.write("one.ndjson", format!("{}\n", alert["event"]));
    let again = run.replay(&file, &run.dir.path().join("rules"), &[]).exits(0).alerts();
    let ids: Vec<&Value> = again.iter().map(|a| &a["id"]).collect();
    assert!(ids.contains(&&alert["id"]), "{} is not among {ids:?}", alert["id"]);
    let same = again.iter().find(|a| a["id"] == alert["id"]).expect("it was found");
    for part in ["container", "user", "process"] {
        assert_eq!(same[part], alert[part]);
    }
}

/// A control group that goes away with the value.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Group> {
        let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc is mounted");
        let unified = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).find(|m| m[2] == "cgroup2")?;
        let path = Path::new(unified[1]).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Group(path))
    }

    /// Runs `true` with these words inside.
    fn run(&self, words: &str) {
        let script = format!("echo $$ > {}/cgroup.procs && exec /bin/true {words}", self.0.display());
        assert!(Command::new("sh").args(["-c", &script]).status().expect("sh runs").success());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        wait_until(|| std::fs::remove_dir(&self.0).is_ok());
    }
}

/// Answers as the Docker Engine API does.
fn engine(path: &Path, id: &str) {
    let listener = UnixListener::bind(path).expect("a socket of our own");
    let id = id.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(copy) = stream.try_clone() else { return };
            let mut lines = BufReader::new(copy).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let _ = lines.find(String::is_empty);
            let known = first == format!("GET /containers/{id}/json HTTP/1.1");
            let (status, body) = if known {
                let body = serde_json::json!({"Id": id, "Name": "/shop-web", "Config":
                    {"Image": "registry.example/shop/web:4", "Labels": {"tier": "front", "app": "shop",
                     "io.kubernetes.pod.name": "web-5d4", "io.kubernetes.pod.namespace": "shop"}}});
                ("200 OK", body.to_string())
            } else {
                ("404 Not Found", "{\"message\":\"No such container\"}".to_owned())
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nServer: Docker/27.3.1 (linux)\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
}

#[test]
fn a_containers_id_is_there_at_once_and_its_name_soon_after() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("container-{}", std::process::id());
    let id = format!("{:064x}", std::process::id());
    let Some(group) = Group::new(&format!("docker-{id}.scope")) else {
        eprintln!("skipped: no unified hierarchy of control groups that we may add to");
        return;
    };
    let socket = run.dir.path().join("engine.sock");
    engine(&socket, &id);
    run.write("rules/any.yml", rule(1, "Any", &format!("CommandLine|contains: '{marker}', Image|endswith: '/true'")));
    let wanted = "ContainerName: shop-web, ContainerImage|startswith: registry.example/shop/, PodNamespace: shop, \
                  ContainerLabels: app=shop";
    run.write("rules/named.yml", rule(2, "Named", &format!("CommandLine|contains: '{marker}', {wanted}")));
    let sockets = format!("containers.sockets=[\"{}\"]", socket.display());
    let Some(mut live) = start(&run, &["--set", &sockets]) else { return };
    let mut count = 0;
    let named = wait_until(|| {
        group.run(&format!("{marker} n{count}"));
        count += 1;
        !titled(&live.alerts(&marker), "Named").is_empty()
    });
    assert!(named, "{}", live.talk());
    live.end(libc::SIGINT);
    let alerts = live.alerts(&marker);
    let first = titled(&alerts, "Any")[0];
    assert!(first["process"]["cmdline"].as_str().is_some_and(|c| c.ends_with(" n0")), "{first}");
    assert_eq!((&first["container"]["id"], &first["container"]["runtime"]), (&id.clone().into(), &"docker".into()));
    assert!(first["container"]["name"].is_null(), "the engine cannot have been asked before the first event");
    let named = titled(&alerts, "Named")[0];
    let c = &named["container"];
    assert_eq!((&c["id"], &c["name"], &c["pod"]), (&id.into(), &"shop-web".into(), &"web-5d4".into()));
    assert_eq!(c["labels"]["tier"], "front");
    assert_eq!(named["event"]["context"]["container"]["image"], "registry.example/shop/web:4");
    replays(&run, named);
    replays(&run, first);
}

#[test]
fn a_user_inside_is_named_by_the_list_inside() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("user-{}", std::process::id());
    run.write("rules/inside.yml", rule(3, "Inside", &format!("CommandLine|contains: '{marker}', User: inside-root")));
    run.write("rules/outside.yml", rule(4, "Outside", &format!("CommandLine|contains: '{marker}-out', User: root")));
    let passwd = run.write("passwd", "inside-root:x:0:0::/:/bin/sh\n");
    let Some(mut live) = start(&run, &[]) else { return };
    let mut inside = Command::new("sh");
    inside.args(["-c", &format!("while sleep 0.1; do /bin/true {marker}-in; done")]);
    let enter = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some(&passwd), "/etc/passwd", none, MsFlags::MS_BIND, none)?;
        Ok(())
    };
    // SAFETY: only system calls between fork and exec.
    let mut inside = unsafe { inside.pre_exec(enter) }.spawn().expect("sh runs");
    let seen = wait_until(|| {
        let out = Command::new("/bin/true").arg(format!("{marker}-out")).status();
        assert!(out.expect("/bin/true runs").success());
        let alerts = live.alerts(&marker);
        !titled(&alerts, "Inside").is_empty() && !titled(&alerts, "Outside").is_empty()
    });
    inside.kill().expect("our own child");
    inside.wait().expect("our own child");
    assert!(seen, "{}", live.talk());
    live.end(libc::SIGINT);
    let alerts = live.alerts(&marker);
    for (title, name, source) in [("Inside", "inside-root", "container"), ("Outside", "root", "host")] {
        for alert in titled(&alerts, title) {
            assert_eq!((&alert["user"]["name"], &alert["user"]["source"]), (&name.into(), &source.into()));
        }
        replays(&run, titled(&alerts, title)[0]);
    }
}

#[test]
fn files_are_hashed_once_a_rule_asks() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("hash-{}", std::process::id());
    run.write("rules/any.yml", rule(5, "Any", &format!("CommandLine|contains: '{marker}'")));
    let tool = run.dir.path().join("tool");
    std::fs::copy("/bin/true", &tool).expect("a copy");
    let digest = Command::new("sha256sum").arg(&tool).output().expect("sha256sum runs").stdout;
    let digest = String::from_utf8_lossy(&digest).split(' ').next().unwrap_or_default().to_owned();
    assert_eq!(digest.len(), 64);
    let Some(mut live) = start(&run, &[]) else { return };
    let hashed = || {
        let ran = run.run(&["status", "--format", "json"]).exits(0);
        let status: Value = serde_json::from_str(&ran.out()).expect("status is JSON");
        status["sensor"]["hashes"].clone()
    };
    // It ends at once: the file has to be found without the process.
    let act = |n: &str| assert!(Command::new(&tool).args([&marker, n]).status().expect("the tool runs").success());
    act("before");
    assert!(wait_until(|| !live.alerts(&marker).is_empty()), "{}", live.talk());
    assert_eq!(hashed()["hashed"], 0, "nobody has asked");
    assert!(live.alerts(&marker)[0]["process"]["sha256"].is_null());
    let upper = digest.to_uppercase();
    run.write(
        "rules/hash.yml",
        rule(6, "Known bad", &format!("CommandLine|contains: '{marker}', Hashes|contains: 'SHA256={upper}'")),
    );
    let found = wait_until(|| {
        act("after");
        !titled(&live.alerts(&marker), "Known bad").is_empty()
    });
    assert!(found, "{}\n{}", live.talk(), hashed());
    assert_ne!(hashed()["hashed"], 0);
    live.end(libc::SIGINT);
    assert!(!live.talk().contains("does not balance"), "{}", live.talk());
    let alerts = live.alerts(&marker);
    let alert = titled(&alerts, "Known bad")[0];
    assert_eq!(alert["process"]["sha256"], digest.as_str());
    replays(&run, alert);
}
