//! Process events for the comparison: ordinary ones that no rule matches, and ones made from rules, that some rule matches.

use serde_json::{Value, json};

use super::rules::{Random, Rule};

/// The fields that rules ask for, in the order of [`Event::values`].
pub const FIELDS: [&str; 7] =
    ["Image", "CommandLine", "ParentImage", "ParentCommandLine", "CurrentDirectory", "User", "LogonId"];

#[derive(Clone, Debug)]
pub struct Event {
    pub image: String,
    pub command: String,
    pub parent: String,
    pub parent_command: String,
    pub directory: String,
    pub user: String,
    pub uid: u32,
}

/// What is done to every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    None,
    /// No value occurs twice in a column.
    Distinct,
    /// Every text has characters beyond ASCII.
    Foreign,
}

impl Event {
    pub fn values(&self) -> [String; 7] {
        [
            self.image.clone(),
            self.command.clone(),
            self.parent.clone(),
            self.parent_command.clone(),
            self.directory.clone(),
            self.user.clone(),
            self.uid.to_string(),
        ]
    }

    /// With the sixteen fields that Sysmon gives such an event, as the other engines get it.
    pub fn json(&self, i: usize) -> Value {
        let mut random = Random::new(i as u64);
        let mut hex = || format!("{:08x}", random.next() as u32);
        let (guid, logon, parent_guid) = (format!("{{{}-{i:08x}}}", hex()), hex(), hex());
        let hash = [hex(), hex(), hex(), hex()].concat();
        json!({
            "UtcTime": format!("2026-01-15 10:{:02}:{:02}.{:03}", i / 60_000 % 60, i / 1000 % 60, i % 1000),
            "ProcessGuid": guid, "ProcessId": 1000 + i % 60_000,
            "Image": self.image, "CommandLine": self.command, "CurrentDirectory": self.directory, "User": self.user,
            "LogonGuid": format!("{{0000-{logon}}}"), "LogonId": self.uid, "TerminalSessionId": i % 8,
            "Hashes": format!("SHA256={hash}"), "ParentProcessGuid": format!("{{p-{parent_guid}}}"),
            "ParentProcessId": 900 + i % 250, "ParentImage": self.parent, "ParentCommandLine": self.parent_command,
            "ParentUser": self.user,
        })
    }

    pub fn twisted(mut self, twist: Twist, i: usize) -> Event {
        let (directory, tail) = match twist {
            Twist::None => return self,
            Twist::Distinct => (format!("/v{i}"), format!(" #{i}")),
            Twist::Foreign => ("/öffentlich".to_owned(), " été".to_owned()),
        };
        for path in [&mut self.image, &mut self.parent, &mut self.directory] {
            path.insert_str(0, &directory);
        }
        for line in [&mut self.command, &mut self.parent_command] {
            line.push_str(&tail);
        }
        match twist {
            Twist::Distinct => {
                self.user.push_str(&format!("{i}"));
                self.uid = 10_000 + i as u32;
            }
            _ => self.user.push('é'),
        }
        self
    }
}

/// Program, command line, parent, the parent's command line. `{n}` is a small number, `{h}` eight random hexadecimal digits.
const ORDINARY: &[[&str; 4]] = &[
    ["/usr/bin/bash", "/bin/bash -l", "/usr/sbin/sshd", "sshd: {u} [priv]"],
    ["/usr/bin/git", "git status --porcelain", "/usr/bin/zsh", "-zsh"],
    ["/usr/bin/git", "git log --oneline -n {n}", "/usr/bin/bash", "-bash"],
    ["/usr/bin/git", "git rev-parse --abbrev-ref HEAD", "/usr/bin/node", "node /opt/app/server.js"],
    ["/usr/bin/make", "make -j{n} all", "/usr/bin/bash", "bash build.sh"],
    [
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -I include -imultiarch x86_64-linux-gnu src/file{n}.c -mtune=generic -march=x86-64 -O2 -o /tmp/cc{h}.s",
        "/usr/bin/x86_64-linux-gnu-gcc-12",
        "gcc -O2 -c src/file{n}.c",
    ],
    [
        "/usr/bin/x86_64-linux-gnu-as",
        "as -I include --64 -o build/file{n}.o /tmp/cc{h}.s",
        "/usr/bin/x86_64-linux-gnu-gcc-12",
        "gcc -O2 -c src/file{n}.c",
    ],
    [
        "/usr/bin/x86_64-linux-gnu-ld.bfd",
        "/usr/bin/ld -plugin liblto_plugin.so --build-id --eh-frame-hdr -m elf_x86_64 -o prog{n} crt1.o crti.o",
        "/usr/lib/gcc/x86_64-linux-gnu/12/collect2",
        "collect2 -plugin",
    ],
    [
        "/home/ci/.cargo/bin/rustc",
        "rustc --crate-name crate_{h} --edition=2021 src/lib.rs --error-format=json --crate-type lib --emit=dep-info,metadata,link -C opt-level=3 -C metadata={h}{h} --out-dir target/release/deps -L dependency=target/release/deps",
        "/home/ci/.cargo/bin/cargo",
        "cargo build --release",
    ],
    ["/usr/bin/node", "node ./node_modules/.bin/tsc -p tsconfig.json --incremental", "/usr/bin/npm", "npm run build"],
    [
        "/usr/bin/python3.11",
        "python3 manage.py runworker --queue q{n}",
        "/usr/bin/supervisord",
        "/usr/bin/python3 /usr/bin/supervisord -n",
    ],
    [
        "/usr/bin/python3.11",
        "/usr/bin/python3 /opt/app/jobs/report_{n}.py --date 2026-01-{d}",
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
    ["/usr/bin/date", "date +%s", "/usr/bin/bash", "bash ./metrics.sh"],
    ["/usr/bin/sed", "sed -e s/foo/bar{n}/g", "/usr/bin/bash", "bash ./configure"],
    ["/usr/bin/gawk", "awk {print $1}", "/usr/bin/bash", "bash ./metrics.sh"],
    ["/usr/bin/sort", "sort -u -k {n}", "/usr/bin/bash", "bash ./metrics.sh"],
    [
        "/usr/bin/dpkg-query",
        "dpkg-query --show --showformat ${Version} libfoo{n}",
        "/usr/bin/perl",
        "perl /usr/bin/debconf",
    ],
    [
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/bin/containerd-shim-runc-v2 -namespace moby -id {h}{h} -address /run/containerd/containerd.sock",
        "/usr/bin/containerd",
        "/usr/bin/containerd",
    ],
    [
        "/usr/sbin/runc",
        "runc --root /var/run/docker/runtime-runc/moby --log /run/containerd/io.containerd.runtime.v2.task/moby/{h}/log.json --log-format json state {h}",
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/bin/containerd-shim-runc-v2 -namespace moby",
    ],
    [
        "/usr/bin/java",
        "java -Xmx{n}m -Dspring.profiles.active=prod -jar /srv/app/service-{n}.jar --server.port=80{d}",
        "/usr/lib/systemd/systemd",
        "/sbin/init",
    ],
    [
        "/usr/lib/postgresql/15/bin/postgres",
        "postgres: app appdb 10.0.0.{n}({n}) SELECT",
        "/usr/lib/postgresql/15/bin/postgres",
        "/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main",
    ],
    [
        "/usr/sbin/nginx",
        "nginx: worker process",
        "/usr/sbin/nginx",
        "nginx: master process /usr/sbin/nginx -g daemon on;",
    ],
    ["/usr/bin/mkdir", "mkdir -p build/obj/dir{n}", "/usr/bin/make", "make all"],
    ["/usr/bin/cp", "cp -a src/file{n}.h build/include/", "/usr/bin/make", "make install"],
    ["/usr/bin/mv", "mv target/a{n} target/b{n}", "/usr/bin/make", "make install"],
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
    [
        "/usr/bin/prometheus-node-exporter",
        "/usr/bin/prometheus-node-exporter --collector.textfile",
        "/usr/lib/systemd/systemd",
        "/sbin/init",
    ],
    ["/usr/bin/tee", "tee build-{n}.log", "/usr/bin/bash", "bash build.sh"],
    ["/usr/bin/expr", "expr {n} + 1", "/usr/bin/dash", "sh ./configure"],
    ["/usr/bin/dash", "sh -c test -f file{n}", "/usr/bin/make", "make check"],
    ["/usr/bin/test", "test -d dir{n}", "/usr/bin/dash", "sh ./configure"],
    ["/usr/bin/vim.basic", "vim src/mod_{n}.rs", "/usr/bin/zsh", "-zsh"],
    ["/usr/bin/less", "less README-{n}.md", "/usr/bin/zsh", "-zsh"],
    ["/usr/lib/systemd/systemd-udevd", "(udev-worker)", "/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"],
    [
        "/usr/bin/ffmpeg",
        "ffmpeg -i in{n}.mp4 -c:v libx264 -crf 23 out{n}.mp4",
        "/usr/bin/python3.11",
        "python3 transcode.py",
    ],
    ["/usr/bin/redis-server", "/usr/bin/redis-server 127.0.0.1:63{d}", "/usr/lib/systemd/systemd", "/sbin/init"],
];

const USERS: [&str; 7] = ["root", "alice", "bob", "www-data", "postgres", "deploy", "svc_build"];

/// A user's number; 0 for root and nobody else.
fn uid(user: &str) -> u32 {
    USERS.iter().position(|u| *u == user).map_or(4_999, |i| if i == 0 { 0 } else { 1_000 + i as u32 })
}

/// An event of an ordinary machine.
pub fn ordinary(random: &mut Random) -> Event {
    let [image, command, parent, parent_command] = *random.pick(ORDINARY);
    with(random, image, command, parent, parent_command)
}

fn with(random: &mut Random, image: &str, command: &str, parent: &str, parent_command: &str) -> Event {
    let (n, day) = (2 + random.below(249), 1 + random.below(28));
    let hex = random.next() as u32;
    let user = *random.pick(&USERS);
    let fill = |t: &str| {
        t.replace("{n}", &n.to_string())
            .replace("{h}", &format!("{hex:08x}"))
            .replace("{d}", &format!("{day:02}"))
            .replace("{u}", user)
    };
    Event {
        image: image.to_owned(),
        command: fill(command),
        parent: parent.to_owned(),
        parent_command: fill(parent_command),
        directory: format!("/home/{user}/work/p{n}"),
        user: user.to_owned(),
        uid: uid(user),
    }
}

/// Events that may match `rule`: one for all its selections together, one for each alone, one for each two of them. Whether
/// one does is for an engine to say.
pub fn synthesised(rule: &Rule, random: &mut Random) -> Vec<Event> {
    let Some(detection) = rule.content["detection"].as_object() else { return Vec::new() };
    let wanted = |name: &str| name != "condition" && !name.starts_with("filter");
    let all: Vec<&Value> = detection.iter().filter(|(n, _)| wanted(n)).map(|(_, s)| s).collect();
    let mut sets: Vec<Vec<&Value>> = vec![all.clone()];
    sets.extend(all.iter().map(|s| vec![*s]));
    for (i, a) in all.iter().enumerate().take(6) {
        sets.extend(all.iter().take(6).skip(i + 1).map(|b| vec![*a, *b]));
    }
    let mut events = Vec::new();
    for set in sets {
        // A choice of values may contradict itself or meet a filter: several are tried.
        for _ in 0..4 {
            let mut made = Made::default();
            for selection in &set {
                made.selection(selection, random);
            }
            events.push(made.event(random));
        }
    }
    events
}

/// What is known about each text field so far.
#[derive(Default)]
struct Made {
    fields: [Part; 7],
}

#[derive(Default, Clone)]
struct Part {
    equals: Option<String>,
    start: String,
    middle: Vec<String>,
    end: String,
}

impl Made {
    fn selection(&mut self, selection: &Value, random: &mut Random) {
        match selection {
            Value::Object(items) => items.iter().for_each(|(key, value)| self.item(key, value, random)),
            Value::Array(alternatives) => {
                if let Some(one) = alternatives.get(random.below(alternatives.len().max(1))) {
                    self.selection(one, random);
                }
            }
            _ => {}
        }
    }

    fn item(&mut self, key: &str, value: &Value, random: &mut Random) {
        let mut words = key.split('|');
        let field = words.next().unwrap_or_default();
        let modifiers: Vec<&str> = words.collect();
        let Some(column) = FIELDS.iter().position(|f| *f == field) else { return };
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        let chosen = if modifiers.contains(&"all") || values.is_empty() {
            values
        } else {
            std::slice::from_ref(random.pick(values))
        };
        for value in chosen {
            let text = value.as_str().map_or_else(|| value.to_string(), plain);
            let part = &mut self.fields[column];
            match modifiers.first() {
                Some(&"contains") => part.middle.push(text),
                Some(&"startswith") => part.start = text,
                Some(&"endswith") => part.end = text,
                Some(&"re") => part.middle.push(sample(&text)),
                _ => part.equals = Some(text),
            }
        }
    }

    fn event(self, random: &mut Random) -> Event {
        let base = with(random, "/usr/bin/true", "true", "/usr/bin/zsh", "-zsh");
        let mut event = base;
        let [image, command, parent, parent_command, directory, user, logon] = self.fields;
        let path = |part: Part, default: &mut String| {
            if let Some(text) = part.text(if part.end.starts_with('/') { "/usr/bin" } else { "/opt/x/" }) {
                *default = text;
            }
        };
        path(image, &mut event.image);
        path(parent, &mut event.parent);
        path(directory, &mut event.directory);
        for (part, line) in [(command, &mut event.command), (parent_command, &mut event.parent_command)] {
            if let Some(text) = part.text("cmdx ") {
                *line = text;
            }
        }
        if let Some(user) = user.text("") {
            event.uid = uid(&user);
            event.user = user;
        }
        if logon.equals.as_deref() == Some("0") {
            (event.user, event.uid) = ("root".to_owned(), 0);
        }
        event
    }
}

impl Part {
    fn text(&self, default_start: &str) -> Option<String> {
        if let Some(equals) = &self.equals {
            return Some(equals.clone());
        }
        if self.start.is_empty() && self.middle.is_empty() && self.end.is_empty() {
            return None;
        }
        let start = if self.start.is_empty() { default_start } else { &self.start };
        Some(format!("{start}{}{}", self.middle.join(" "), self.end))
    }
}

/// A Sigma text as a text that it matches.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(|n| matches!(n, '*' | '?' | '\\')) => out.extend(chars.next()),
            '*' => out.push_str("xy"),
            '?' => out.push('x'),
            c => out.push(c),
        }
    }
    out
}

/// A text for a regex of the corpus, by what is in it: good enough where it matches.
fn sample(regex: &str) -> String {
    if regex.contains("{200,}") {
        return "x".repeat(220);
    }
    if regex.contains("[0-9]{1,3}") {
        return if regex.contains("https") { "https://10.1.2.3".to_owned() } else { "10.1.2.3".to_owned() };
    }
    for (part, text) in [("-inode", " --inode "), ("directory", " --directory "), ("-O", " -O "), ("-[FTd]", " -F ")] {
        if regex.contains(part) {
            return text.to_owned();
        }
    }
    if regex.contains("(W|R)") { "-W \"aa bb cc\"".to_owned() } else { plain(regex) }
}
