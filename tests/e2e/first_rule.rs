//! Every command of docs/first-rule.md, run in order as a new user would, in an empty directory.

use std::process::Command;

use picket_tests::{Live, Run, able, binary, one_at_a_time, root};

/// A block of commands of the page.
struct Block {
    line: usize,
    text: String,
    /// It goes on in a terminal of its own.
    terminal: bool,
    exit: i32,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in page.lines().enumerate() {
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(info)) if info.starts_with("sh") => {
                let exit = info.split_once("exit=").map_or(0, |(_, code)| code.trim().parse().expect("an exit code"));
                open = Some(Block { line: line + 1, text: String::new(), terminal: info.contains("terminal"), exit });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(text);
                block.text.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let page = std::fs::read_to_string(root().join("docs/first-rule.md")).expect("the page");
    let blocks = blocks(&page);
    assert!(blocks.len() >= 10, "{} blocks", blocks.len());
    let run = Run::new();
    let mut live = None;
    let mut out = String::new();
    for block in &blocks {
        if block.terminal {
            assert_eq!(block.text.trim(), "picket run");
            let Some(started) = Live::start(&run, &[]) else { return };
            live = Some(started);
            continue;
        }
        // As in a shell of a user who has it in the path; the config says where the state is.
        let path =
            format!("{}:{}", binary().parent().expect("a directory").display(), std::env::var("PATH").expect("a path"));
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &block.text]).current_dir(run.dir.path()).env("PATH", path);
        shell.env("NO_COLOR", "1").env("PICKET_STATE_DIR", run.dir.path().join("state"));
        let done = shell.output().expect("bash runs");
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(block.exit), "line {}:\n{}\n{said}", block.line, block.text);
        out.push_str(&format!("$ {}\n{said}\n", block.text.trim()));
    }
    let mut live = live.expect("the page starts picket");
    // What the page promises, in the order of its chapters.
    for said in [
        "Download To A Temporary Directory",
        "matches",
        "rules/mine.test.yml",
        "not_there",
        "is live",
        "events looked at",
        "gained",
        "an exception until",
        "live -> shadow",
        "shadow -> live",
        "shadow counted 1 hit",
        "the same verdict",
    ] {
        assert!(out.contains(said), "`{said}` is not said:\n{out}");
    }
    std::fs::create_dir_all(picket_tests::target().join("tmp")).expect("a directory");
    std::fs::write(picket_tests::target().join("tmp/first-rule.txt"), &out).expect("the transcript");
    assert_eq!(live.end(libc::SIGTERM).code(), Some(0), "{}", live.talk());
}
