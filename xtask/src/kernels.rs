//! The kernel side under other kernels: the live test of the host, in a virtual machine, and what it saw as a page.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{Misuse, build::NATIVE, debian, project::Project, rungs, stages::Outcome, vm::machine};

/// What is booted, as kernel and boot arguments: Debian's kernels as they are, the oldest that we claim first, and the
/// preemption that lets a program be interrupted between its two probes.
pub const BOOTS: &[(&str, &str)] = &[("5.10", ""), ("6.1", ""), ("6.1", "preempt=full"), ("6.12", "")];

/// The test of `host/tests/` that needs nothing but itself and a kernel.
const LIVE_TEST: &str = "ebpf_live";

/// A small module that needs no other, for the live test to load.
const TEST_MODULE: &str = "dummy.ko";

/// What the page says before its tables, and where it is.
const PAGE: &str = "docs/kernels.md";
const HEAD: &str = "\
# Kernels

What each kernel lets us see: written by `cargo xtask vm all` from what the live test saw in virtual machines (QEMU, TCG), and
compared with it by `cargo xtask test`. The kernels are those of Debian's cloud images, x86-64. On aarch64 the kernel side compiles,
and has not been run.

*best* is the ladder's choice, *tracepoints alone* what is left where kprobes are not to be had. *seen* means that a process did it
and its record arrived; *attached* that nothing in the test does it. What a rung lacks is named; a kind without a rung is
reported in `picket status`, and the others go on.
";

/// `cargo xtask vm KERNEL|all [--append ARGS]`
pub fn command(arguments: &[OsString]) -> Result<()> {
    let words: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    let boots = match words.as_deref() {
        Some(["all"]) => return all(&Project::load()?),
        Some([kernel]) => (*kernel, ""),
        Some([kernel, "--append", append]) => (*kernel, *append),
        _ => bail!(Misuse("vm takes a kernel series such as 6.1, or all".to_owned())),
    };
    match run(&Project::load()?, boots.0, boots.1)? {
        Ran::Log(log) => println!("{}", log.trim_end()),
        Ran::Not(reason) => bail!(crate::Cannot(reason)),
    }
    Ok(())
}

/// Boots everything and writes the page.
fn all(project: &Project) -> Result<()> {
    let mut page = HEAD.to_owned();
    for (kernel, append) in BOOTS {
        eprintln!("kernel {kernel} {append}");
        match run(project, kernel, append)? {
            Ran::Log(log) => page.push_str(&section(kernel, append, &log)),
            Ran::Not(reason) => {
                let _ = write!(page, "\n## {}\n\nNot run: {reason}.\n", title(kernel, append));
            }
        }
    }
    page.push_str(&rungs::explained());
    fs::write(project.root.join(PAGE), page).context("cannot write docs/kernels.md")?;
    eprintln!("{PAGE} is written");
    Ok(())
}

/// One boot as a stage of `test`: every check of the live test, and the page still says what was seen.
pub fn boot(project: &Project, kernel: &str, append: &str) -> Result<Outcome> {
    let log = match run(project, kernel, append)? {
        Ran::Log(log) => log,
        Ran::Not(reason) => return Ok(Outcome::Skipped(reason)),
    };
    println!("{}", log.trim_end());
    let (page, seen) = (fs::read_to_string(project.root.join(PAGE)).unwrap_or_default(), section(kernel, append, &log));
    ensure!(page.contains(&seen), "{PAGE} is not current, `cargo xtask vm all` writes it; now it would say:\n{seen}");
    Ok(Outcome::Done)
}

enum Ran {
    /// What the live test printed.
    Log(String),
    /// Not at all, and why not.
    Not(String),
}

/// Runs the live test on the best rung of each kind, then on the tracepoint rung.
fn run(project: &Project, kernel: &str, append: &str) -> Result<Ran> {
    let root = &project.root;
    let tools = debian::qemu(root).and_then(|_| debian::busybox(root)).and_then(|_| debian::kernel(root, kernel));
    let tree = match tools {
        Ok(tree) => tree,
        Err(error) => return Ok(Ran::Not(format!("{error:#}").replace('\n', "; "))),
    };
    let mut files = vec![(live_test(project)?, "/root/ebpf_live")];
    files.extend(module_of(&tree, TEST_MODULE).map(|module| (module, "/root/test.ko")));
    let script = "/root/ebpf_live && /root/ebpf_live --observe --rung tracepoint";
    Ok(Ran::Log(machine(root, &tree, append, &files, script)?.log))
}

/// The module of this name below a kernel package's tree, compressed or not; none in kernels that have it built in.
fn module_of(tree: &Path, name: &str) -> Option<PathBuf> {
    let mut open = vec![tree.join("lib/modules"), tree.join("usr/lib/modules")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(path);
            } else if entry.file_name().to_string_lossy().starts_with(name) {
                return Some(path);
            }
        }
    }
    None
}

fn title(kernel: &str, append: &str) -> String {
    format!("Debian, Linux {kernel}{}", if append.is_empty() { String::new() } else { format!(", `{append}`") })
}

/// The page's part about one boot, from the lines `table KIND RUN RUNG RECORDS WHAT IT LACKS` of the live test.
fn section(kernel: &str, append: &str, log: &str) -> String {
    let mut kinds: BTreeMap<&str, [String; 2]> = BTreeMap::new();
    for line in log.lines().filter_map(|line| line.trim().strip_prefix("table ")) {
        let mut words = line.splitn(5, ' ');
        let (Some(kind), Some(run), Some(rung), Some(records)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let lacks = words.next().unwrap_or_default();
        let lacks = if lacks.is_empty() { String::new() } else { format!("; {}", lacks.replace('|', "/")) };
        let seen = if records == "0" { "attached" } else { "seen" };
        let cell = if rung == "none" { format!("none{lacks}") } else { format!("{rung}, {seen}{lacks}") };
        kinds.entry(kind).or_default()[usize::from(run == "tracepoint")] = cell;
    }
    let mut text = format!("\n## {}\n\n| kind | best | tracepoints alone |\n|---|---|---|\n", title(kernel, append));
    for (kind, [best, alone]) in kinds {
        let _ = writeln!(text, "| `{kind}` | {best} | {} |", if alone == best { "the same" } else { &alone });
    }
    text
}

/// Builds the live test with the features of every other build, and says where it is.
pub fn live_test(project: &Project) -> Result<PathBuf> {
    let mut cargo = project.cargo();
    cargo.args(["test", "--release", "--no-run", "--message-format", "json-render-diagnostics", "--test", LIVE_TEST]);
    let output = cargo.args(NATIVE).stderr(Stdio::inherit()).output().context("cargo does not start")?;
    if !output.status.success() {
        bail!("building the test {LIVE_TEST} failed ({})", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("cargo made no test {LIVE_TEST}"))
}

/// The path of the live test in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut own = messages.filter(|message| message["target"]["name"] == LIVE_TEST);
    own.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_test_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"picket"},"executable":"/t/release/picket"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"ebpf_live"},"executable":"/t/release/deps/ebpf_live-1"}"#,
            "\nnot json\n",
        );
        assert_eq!(executable(messages), Some("/t/release/deps/ebpf_live-1".into()));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn a_module_is_found_at_any_depth() -> Result<()> {
        let tree = std::env::temp_dir().join(format!("picket-module-{}", std::process::id()));
        let deep = tree.join("lib/modules/6.1/kernel/drivers/net");
        fs::create_dir_all(&deep)?;
        assert_eq!(module_of(&tree, TEST_MODULE), None);
        fs::write(deep.join("dummy.ko.xz"), "")?;
        let found = module_of(&tree, TEST_MODULE);
        fs::remove_dir_all(&tree)?;
        assert_eq!(found, Some(deep.join("dummy.ko.xz")));
        Ok(())
    }

    #[test]
    fn a_kernel_must_be_named() {
        assert!(command(&[]).expect_err("no kernel").is::<Misuse>());
        assert!(command(&["6.1".into(), "--apend".into(), "x".into()]).expect_err("a typo").is::<Misuse>());
    }

    #[test]
    fn what_was_seen_becomes_a_table() {
        let log = "noise\r\ntable open best kprobe 3 \r\ntable open tracepoint tracepoint 0 opens by exec are not seen\r\n\
                   table load best tracepoint 1 \r\ntable load tracepoint tracepoint 1 \r\ntable x best none 0 no such hook\r\n";
        let text = section("6.1", "", log);
        assert!(
            text.contains("| `open` | kprobe, seen | tracepoint, attached; opens by exec are not seen |"),
            "{text}"
        );
        assert!(text.contains("| `load` | tracepoint, seen | the same |"), "{text}");
        assert!(text.contains("| `x` | none; no such hook |  |"), "{text}");
    }
}
