//! The same rule means the same on every rung: one process does everything in a virtual machine twice, seen by the best rung and
//! by tracepoints alone, and what the rules find in both captures is compared.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{debian, kernels, project::Project, stages::Outcome, vm::machine};

/// Where both rungs exist.
const KERNEL: &str = "6.1";
const RUNGS: [&str; 2] = ["auto", "tracepoint"];

const IO_URING: &str = "requests by io_uring are seen at tracepoints from Linux 6.18 on";
const BY_EXEC: &str = "what exec opens itself is seen by kprobes only; the exec is seen on both";
const SAME_MODE: &str =
    "to set the mode that a file has, within one tick of the clock, changes nothing that the kprobe could see";

/// Differences that are known, and why each is so: the kinds or log sources, a part of what was found, the reason. They
/// are in docs/kernels.md.
const EXPLAINED: &[(&[&str], &str, &str)] = &[
    (&["security_file_open", "file_event"], "/work/uring ", IO_URING),
    (&["security_file_open", "file_event"], "/work/direct ", IO_URING),
    (&["security_inode_unlink", "file_delete"], "/work/uring", IO_URING),
    (&["security_inode_rename", "file_event", "file_rename"], "/names/u#", IO_URING),
    (&["security_file_open"], "/bin/busybox", BY_EXEC),
    (&["security_file_open"], "/ld-linux-", BY_EXEC),
    (&["security_file_open"], "/root/ebpf_live", BY_EXEC),
    (&["security_file_open"], "/work/m/as-root", BY_EXEC),
    (&["security_file_open"], "/work/setuid", BY_EXEC),
    (&["security_file_open"], "memfd:", BY_EXEC),
    (
        &["security_inode_mknod"],
        "file_type=socket",
        "sockets that bind makes are seen by kprobes only; the bind is seen on both",
    ),
    (&["chmod_common", "file_change"], "/work/m/as-root", SAME_MODE),
    (&["chmod_common", "file_change"], "/work/overlay/lower/program", SAME_MODE),
    (&["chmod_common", "file_change"], "/work/setuid", SAME_MODE),
    (&["security_file_open"], "/proc/#/maps", "the actor looks as often as it has to"),
];

/// The list as a part of docs/kernels.md.
pub fn explained() -> String {
    let mut text = String::from(
        "\n## What rules find on one rung and not on the other\n\nOn Linux 6.1, the same acts, compared by `cargo xtask rungs`: nothing \
         else differs.\n\n| kinds and log sources | what | why |\n|---|---|---|\n",
    );
    for (rules, what, why) in EXPLAINED {
        let rules: Vec<String> = rules.iter().map(|rule| format!("`{rule}`")).collect();
        let _ = writeln!(text, "| {} | `{}` | {why} |", rules.join(", "), what.trim());
    }
    text
}

/// Runs the comparison as a stage of `test`.
pub fn compare(project: &Project) -> Result<Outcome> {
    let root = &project.root;
    let tree = match debian::qemu(root).and_then(|_| debian::busybox(root)).and_then(|_| debian::kernel(root, KERNEL)) {
        Ok(tree) => tree,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}").replace('\n', "; "))),
    };
    let files = [(kernels::live_test(project)?, "/root/ebpf_live"), (project.picket(), "/root/picket")];
    let work = project.target.join("tmp/rungs");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(work.join("rules"))?;
    rules(project, &work.join("rules"))?;
    let mut found: BTreeMap<Finding, [usize; 2]> = BTreeMap::new();
    for (rung, name) in RUNGS.iter().enumerate() {
        // A machine each: what the actor leaves behind is in the way of the next one.
        let told = machine(root, &tree, "", &files, &script(name))?;
        let capture = work.join(format!("{name}.ndjson"));
        fs::write(
            &capture,
            part(&told.data, name).with_context(|| format!("no capture on rung {name}:\n{}", told.log))?,
        )?;
        for finding in replay(project, &capture, &work)? {
            found.entry(finding).or_default()[rung] += 1;
        }
    }
    ensure!(found.len() > 20, "only {} different findings: the stimuli did not arrive", found.len());
    let mut unexplained = Vec::new();
    let mut differences = 0;
    for (finding, [best, alone]) in found.iter().filter(|(_, [best, alone])| best != alone) {
        differences += 1;
        let reason = EXPLAINED
            .iter()
            .find(|(rules, what, _)| rules.contains(&finding.rule.as_str()) && finding.what.contains(what));
        let line = format!("{} of {}: {best} on the best rung, {alone} on tracepoints", finding.rule, finding.what);
        match reason {
            Some((.., why)) => println!("  explained: {line}: {why}"),
            None => unexplained.push(line),
        }
    }
    println!("rungs: {} findings, {differences} differ", found.len());
    ensure!(unexplained.is_empty(), "the rungs differ where they should not:\n  {}", unexplained.join("\n  "));
    Ok(Outcome::Done)
}

/// What a rule found, without what differs from run to run.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    rule: String,
    what: String,
}

/// Captures on one rung while the actor acts, then sends the capture out.
fn script(rung: &str) -> String {
    format!(
        "mkdir -p /tmp/{rung}/work /tmp/{rung}/state\n\
         /root/picket capture /tmp/{rung}/events --set sensor.rung={rung} --set state_dir=/tmp/{rung}/state > /tmp/{rung}/log 2>&1 &\n\
         for i in $(seq 100); do grep -q 'capture is running' /tmp/{rung}/log && break; sleep 0.2; done\n\
         cat /tmp/{rung}/log\n\
         /root/ebpf_live --act /tmp/{rung}/work > /dev/null || exit 1\n\
         sleep 1; kill -INT $!; wait $!\n\
         stty -F /dev/ttyS1 raw; (echo BEGIN {rung}; cat /tmp/{rung}/events; echo END) > /dev/ttyS1\n"
    )
}

/// The lines between `BEGIN name` and `END`.
fn part(data: &str, name: &str) -> Option<String> {
    let begin = format!("BEGIN {name}");
    let mut lines = data.lines().map(|line| line.trim_end_matches('\r')).skip_while(|line| *line != begin);
    lines.next()?;
    let mut text = String::new();
    for line in lines {
        if line == "END" {
            return Some(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    None
}

/// One rule for each kind and one for each log source: what any rule on them could be about.
fn rules(project: &Project, folder: &Path) -> Result<()> {
    let output = Command::new(project.picket()).args(["fields", "--format", "json"]).output()?;
    let tables: Value = serde_json::from_slice(&output.stdout).context("picket fields prints no JSON")?;
    let mut categories = Vec::new();
    for kind in tables["kinds"].as_array().context("picket fields names no kinds")? {
        let name = kind["name"].as_str().unwrap_or_default();
        rule(folder, name, "ebpf", &format!("EventName: {name}"))?;
        let sources = kind["log_sources"].as_array().into_iter().flatten();
        categories.extend(sources.filter(|s| s["service"].is_null()).filter_map(|s| s["category"].as_str()));
    }
    categories.sort_unstable();
    categories.dedup();
    // file_access is read only with a filter.
    for category in categories.iter().filter(|c| **c != "ebpf" && **c != "file_access") {
        rule(folder, category, category, "EventName|re: .")?;
    }
    Ok(())
}

fn rule(folder: &Path, title: &str, category: &str, item: &str) -> Result<()> {
    let text = format!(
        "title: {title}\nstatus: test\nlogsource:\n    category: {category}\n    product: linux\n\
         detection:\n    selection:\n        {item}\n    condition: selection\nlevel: low\n"
    );
    fs::write(folder.join(format!("{title}.yml")), text).with_context(|| format!("cannot write rule {title}"))
}

/// What the generated rules and our own find in a capture, by processes of the actor.
fn replay(project: &Project, capture: &Path, work: &Path) -> Result<Vec<Finding>> {
    let mut picket = Command::new(project.picket());
    picket.arg("replay").arg(capture).args(["--format", "json", "--guests"]).arg(project.target.join("guests"));
    picket.arg("--rules").arg(work.join("rules")).arg("--rules").arg(project.root.join("rules"));
    picket.arg("--set").arg(format!("state_dir={}", work.join("state").display()));
    let output = picket.output().context("picket does not start")?;
    ensure!(output.status.success(), "picket replay failed: {}", String::from_utf8_lossy(&output.stderr));
    let alerts = String::from_utf8_lossy(&output.stdout).into_owned();
    let alerts = alerts.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(alerts.filter(|alert| by_the_actor(&alert["process"])).map(|alert| finding(&alert)).collect())
}

fn by_the_actor(process: &Value) -> bool {
    let acts = |p: &Value| p["cmdline"].as_str().is_some_and(|line| line.contains("--act "));
    acts(process) || process["ancestors"].as_array().is_some_and(|all| all.iter().any(acts))
}

fn finding(alert: &Value) -> Finding {
    let data = &alert["event"]["EventData"];
    let mut texts = Vec::new();
    strings(data, "", data["remote_addr"].is_object(), &mut texts);
    // Numbers are pids, ports and the name of the rung in a path.
    let mut what = String::new();
    for c in texts.join(" ").replace("/tracepoint/", "/auto/").chars() {
        match c {
            '0'..='9' if what.ends_with('#') => {}
            '0'..='9' => what.push('#'),
            c => what.push(c),
        }
    }
    Finding { rule: alert["rule"]["title"].as_str().or(alert["title"].as_str()).unwrap_or_default().to_owned(), what }
}

/// The strings of an event but those that say how it was seen; of a connection, only the end that it leads to.
fn strings(value: &Value, key: &str, connection: bool, out: &mut Vec<String>) {
    const HOW: [&str; 4] = ["ProcInfo", "syscall_pathname", "call", "user_memory"];
    match value {
        Value::String(text) => out.push(format!("{key}={text}")),
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, connection, out)),
        Value::Object(map) => {
            let how = |key: &str| HOW.contains(&key) || (connection && key == "local_addr");
            map.iter().filter(|(key, _)| !how(key)).for_each(|(key, value)| strings(value, key, connection, out));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_found_between_its_marks() {
        let data = "BEGIN auto\r\n{}\r\nEND\r\nBEGIN tracepoint\r\n{1}\r\n";
        assert_eq!(part(data, "auto").as_deref(), Some("{}\n"));
        assert_eq!(part(data, "tracepoint"), None, "cut off");
    }

    #[test]
    fn runs_differ_in_numbers_only() {
        let alert = |dir: &str, pid: &str| serde_json::json!({ "rule": { "title": "t" }, "event": { "EventData": { "pathname": format!("/tmp/{dir}/x{pid}"), "inode": 7 } } });
        assert!(finding(&alert("auto", "123")) == finding(&alert("tracepoint", "456")));
        assert!(finding(&alert("auto", "123")) != finding(&alert("auto", "y")));
    }
}
