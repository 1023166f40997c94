//! Audit records as Sigma's `product: linux, service: auditd` rules see them, made from the events of other kinds.
//!
//! No audit daemon is asked and no hook has this kind: the builder appends these rows right behind the event they come
//! from, so they have its time, its process and its place. What a record of auditd would say and the event does not know
//! is left out. `docs/auditd.md` says what differs from a real audit log.

use super::{Field, KINDS, Kind, KindId, SYSTEM, Type, derive_nothing, system};
use crate::slab::{Cell, Row, Slab, Span};

mod feeds;

/// Positions in [`FIELDS`].
mod at {
    pub const TYPE: usize = 0;
    pub const SYSCALL: usize = 1;
    pub const SUCCESS: usize = 2;
    pub const EXIT: usize = 3;
    pub const PPID: usize = 4;
    pub const PID: usize = 5;
    pub const AUID: usize = 6;
    pub const UID: usize = 7;
    pub const EUID: usize = 8;
    pub const TTY: usize = 9;
    pub const COMM: usize = 10;
    pub const EXE: usize = 11;
    pub const CWD: usize = 12;
    pub const ITEM: usize = 13;
    pub const NAME: usize = 14;
    pub const INODE: usize = 15;
    pub const DEV: usize = 16;
    pub const MODE: usize = 17;
    pub const NAMETYPE: usize = 18;
    pub const ARGC: usize = 19;
    pub const A0: usize = 20;
    pub const ARGS: usize = 16;
    pub const MORE: usize = A0 + ARGS;
}

/// Text of an audit record under auditd's name, left out where the record has none.
const fn text(name: &'static [&'static str; 1], doc: &'static str) -> Field {
    Field::new(name[0], Type::Text, doc).sigma(name).optional()
}

const fn number(name: &'static [&'static str; 1], doc: &'static str) -> Field {
    Field::new(name[0], Type::Unsigned, doc).sigma(name).optional()
}

/// Known to rules, and nothing an event knows.
const fn never(name: &'static [&'static str; 1], doc: &'static str) -> Field {
    Field::new(name[0], Type::Text, doc).sigma(name).unfilled()
}

const ARG: &str = "argument of the program (EXECVE, decoded) or of the system call (SYSCALL, hexadecimal)";

static FIELDS: [Field; 56] = [
    text(&["type"], "SYSCALL, EXECVE, CWD, PATH or KERN_MODULE"),
    Field::new("SYSCALL", Type::Text, "name of the system call; of its family where the hook does not tell them apart")
        .sigma(&["SYSCALL", "syscall"])
        .optional(),
    text(&["success"], "yes or no"),
    Field::new("exit", Type::Signed, "what the system call returned").sigma(&["exit"]).optional(),
    number(&["ppid"], "parent's process id on the host"),
    number(&["pid"], "process id on the host"),
    number(&["auid"], "login uid; absent when nobody logged in"),
    number(&["uid"], "real user id"),
    number(&["euid"], "effective user id"),
    text(&["tty"], "controlling terminal, of programs that start"),
    text(&["comm"], "name of the thread"),
    text(&["exe"], "resolved path of the executable"),
    text(&["cwd"], "working directory, of programs that start"),
    number(&["item"], "number of the PATH record, from 0"),
    text(
        &["name"],
        "path, resolved; where the call was given another one, a second record has that. KERN_MODULE: the module",
    ),
    number(&["inode"], "inode"),
    text(&["dev"], "device, major:minor in hexadecimal"),
    text(&["mode"], "mode of the inode, octal"),
    text(&["nametype"], "NORMAL, CREATE or DELETE"),
    number(&["argc"], "number of arguments of the program"),
    text(&["a0"], ARG),
    text(&["a1"], ARG),
    text(&["a2"], ARG),
    text(&["a3"], ARG),
    text(&["a4"], ARG),
    text(&["a5"], ARG),
    text(&["a6"], ARG),
    text(&["a7"], ARG),
    text(&["a8"], ARG),
    text(&["a9"], ARG),
    text(&["a10"], ARG),
    text(&["a11"], ARG),
    text(&["a12"], ARG),
    text(&["a13"], ARG),
    text(&["a14"], ARG),
    text(&["a15"], ARG),
    Field::new("more", Type::TextList, "arguments of the program from a16 on").optional(),
    never(&["key"], "key of the audit rule: there are no audit rules here"),
    never(&["unit"], "unit of SERVICE_START and SERVICE_STOP: systemd tells it to auditd only"),
    never(&["acct"], "account of USER_* and CRED_* records: PAM tells it to auditd only"),
    never(&["op"], "operation of USER_* and CONFIG_CHANGE records"),
    never(&["res"], "result of USER_* and SERVICE_* records"),
    never(&["terminal"], "terminal of USER_* records"),
    never(&["hostname"], "remote host of USER_* records"),
    never(&["addr"], "remote address of USER_* records"),
    never(&["data"], "keystrokes of TTY records"),
    never(&["arch"], "instruction set of the system call"),
    never(&["ses"], "login session"),
    never(&["gid"], "real group id"),
    never(&["egid"], "effective group id"),
    never(&["suid"], "saved user id"),
    never(&["sgid"], "saved group id"),
    never(&["fsuid"], "user id for file access"),
    never(&["fsgid"], "group id for file access"),
    never(&["saddr"], "socket address of SOCKADDR records: use the network kinds"),
    never(&["proctitle"], "command line of PROCTITLE records: use EXECVE"),
];

pub(super) static KIND: Kind = Kind {
    name: "auditd",
    short: "audit",
    line: "{type} {SYSCALL} {name}",
    doc: "an audit record made from another event; only where the setting auditd is on",
    event_id: 0,
    record: 35,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    // The kernel side has no such record.
    decode: |_, _, _| {},
    derive: derive_nothing,
};

/// Which opens of files become audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// Those that change a file, once a minute for each file and process, as in `file_event`.
    Changes,
    Every,
}

/// The kinds that audit records are made from.
pub(super) fn sources() -> impl Iterator<Item = KindId> {
    feeds::kinds()
}

fn id() -> KindId {
    KINDS.iter().position(|k| std::ptr::eq(*k, &raw const KIND)).map_or(KindId::FOREIGN, |i| KindId(i as u16))
}

/// The number of a record type in an audit log.
fn number_of(record: &str) -> u64 {
    match record {
        "SYSCALL" => 1300,
        "PATH" => 1302,
        "CWD" => 1307,
        "EXECVE" => 1309,
        "KERN_MODULE" => 1330,
        _ => 0,
    }
}

/// Appends the audit records of the last row. `seq` gives each its place. How many there are.
pub(crate) fn append(slab: &mut Slab, opens: Opens, seq: &mut dyn FnMut() -> u64) -> usize {
    let Some(primary) = slab.rows.len().checked_sub(1) else { return 0 };
    let Some((kind, feed)) = feeds::of(slab.rows[primary].kind) else { return 0 };
    let first = slab.rows[primary].cells as usize;
    let mut event = Event { id: id(), kind, primary, own: [Cell::Absent; super::decode::MOST_FIELDS] };
    event.own[..kind.fields.len()].copy_from_slice(slab.own_cells(primary));
    let unchanged = !feed.change.is_empty() && (slab.rows[primary].repeat || event.cell(feed.change) == Cell::Absent);
    if opens == Opens::Changes && unchanged {
        return 0;
    }
    let system = |at: usize| slab.cells[first + at];
    let mut cells = [Cell::Absent; FIELDS.len()];
    for (to, from) in [
        (at::PPID, system::at::HOST_PPID),
        (at::PID, system::at::HOST_PID),
        (at::AUID, system::at::LOGIN_UID),
        (at::UID, system::at::UID),
        (at::EUID, system::at::EUID),
        (at::COMM, system::at::COMM),
    ] {
        cells[to] = known(system(from));
    }
    cells[at::SYSCALL] = match event.cell(feed.call_in) {
        call @ Cell::Text(_) => call,
        _ => slab.text(feed.call.as_bytes()),
    };
    let success = match (feed.success, event.cell(feed.success)) {
        ("", _) => Some(true),
        (_, Cell::Bool(success)) => Some(success),
        _ => None,
    };
    if let Some(success) = success {
        cells[at::SUCCESS] = slab.text(if success { b"yes" } else { b"no" });
    }
    if success == Some(true) && feed.zero {
        cells[at::EXIT] = Cell::Signed(0);
    }
    for (position, field) in feed.args {
        cells[at::A0 + position] = hexadecimal(slab, event.cell(field));
    }
    cells[at::TTY] = event.cell("tty");
    if let Some(exe) = slab.rows[primary].process.as_ref().and_then(|p| p.image.exe.clone()) {
        cells[at::EXE] = slab.text(&exe);
    }
    event.append(slab, "SYSCALL", cells, seq);
    if let Cell::List(arguments) = event.cell(feed.argv) {
        let cells = arguments_of(slab, arguments, event.cell("argc"));
        event.append(slab, "EXECVE", cells, seq);
    }
    for (record, field, to) in [("CWD", feed.cwd, at::CWD), ("KERN_MODULE", feed.module, at::NAME)] {
        if let text @ Cell::Text(_) = event.cell(field) {
            let mut cells = [Cell::Absent; FIELDS.len()];
            cells[to] = text;
            event.append(slab, record, cells, seq);
        }
    }
    let mut item = 0;
    for path in feed.paths {
        let Some((mut cells, also)) = event.path(slab, path) else { continue };
        cells[at::ITEM] = Cell::Unsigned(item);
        item += 1;
        event.append(slab, "PATH", cells, seq);
        if let Some(given) = also {
            cells[at::NAME] = given;
            event.append(slab, "PATH", cells, seq);
        }
    }
    slab.rows.len() - primary - 1
}

/// The cells of an EXECVE record. They share the bytes of the event.
fn arguments_of(slab: &Slab, list: Span, argc: Cell) -> [Cell; FIELDS.len()] {
    let mut cells = [Cell::Absent; FIELDS.len()];
    cells[at::ARGC] = if argc == Cell::Absent { Cell::Unsigned(u64::from(list.len)) } else { argc };
    for (cell, argument) in cells[at::A0..at::MORE].iter_mut().zip(&slab.lists[list.range()]) {
        *cell = Cell::Text(*argument);
    }
    let shown = at::ARGS as u32;
    if list.len > shown {
        cells[at::MORE] = Cell::List(Span { at: list.at + shown, len: list.len - shown });
    }
    cells
}

/// The event that records are made from.
struct Event {
    id: KindId,
    kind: &'static Kind,
    primary: usize,
    own: [Cell; super::decode::MOST_FIELDS],
}

impl Event {
    /// The cell of a field; absent where the kind has no such field or the hook could not fill it.
    fn cell(&self, field: &str) -> Cell {
        let position = self.kind.fields.iter().position(|f| f.path == field);
        position.map_or(Cell::Absent, |i| known(self.own[i]))
    }

    /// A PATH record, and the path as it was passed where rules may know the file by that.
    fn path(&self, slab: &mut Slab, path: &feeds::Path) -> Option<([Cell; FIELDS.len()], Option<Cell>)> {
        let Cell::Text(name) = self.cell(path.name) else { return None };
        let resolved = &slab.arena[name.range()];
        if resolved.is_empty() {
            return None;
        }
        let also = match self.cell(path.also) {
            Cell::Text(given) => {
                let text = &slab.arena[given.range()];
                (text.starts_with(b"/") && text != resolved).then_some(Cell::Text(given))
            }
            _ => None,
        };
        let mut cells = [Cell::Absent; FIELDS.len()];
        cells[at::NAME] = Cell::Text(name);
        cells[at::INODE] = self.cell(path.inode);
        if let Cell::Unsigned(dev) = self.cell(path.dev) {
            cells[at::DEV] = slab.format(format_args!("{:02x}:{:02x}", dev >> 20, dev & 0xf_ffff));
        }
        if let Cell::Unsigned(mode) = self.cell(path.mode) {
            cells[at::MODE] = slab.format(format_args!("0{mode:o}"));
        }
        let created = |field| self.cell(field) == Cell::Bool(true);
        cells[at::NAMETYPE] = slab.text(match path.nametype {
            feeds::NameType::Create => b"CREATE",
            feeds::NameType::Delete => b"DELETE",
            feeds::NameType::CreateIf(field) if created(field) => b"CREATE",
            feeds::NameType::Normal | feeds::NameType::CreateIf(_) => b"NORMAL",
        });
        Some((cells, also))
    }

    fn append(&self, slab: &mut Slab, record: &str, mut own: [Cell; FIELDS.len()], seq: &mut dyn FnMut() -> u64) {
        own[at::TYPE] = slab.text(record.as_bytes());
        let from = slab.rows[self.primary].cells as usize;
        let cells = slab.cells.len();
        slab.cells.extend_from_within(from..from + SYSTEM.len());
        slab.cells[cells + system::at::EVENT_NAME] = slab.text(KIND.name.as_bytes());
        slab.cells[cells + system::at::EVENT_ID] = Cell::Unsigned(number_of(record));
        slab.cells.extend_from_slice(&own);
        let before = &slab.rows[self.primary];
        let row = Row {
            seq: seq(),
            time: before.time,
            kind: self.id,
            cells: cells as u32,
            repeat: false,
            partial: before.partial,
            process: before.process.clone(),
            raw: None,
        };
        slab.derived.push((slab.rows.len() as u32, self.primary as u32));
        slab.rows.push(row);
    }
}

/// What the hook could not fill is left out of a record.
fn known(cell: Cell) -> Cell {
    if cell == Cell::Null { Cell::Absent } else { cell }
}

/// A number as a SYSCALL record writes it; a negative one of 32 bits as the register holds it.
fn hexadecimal(slab: &mut Slab, cell: Cell) -> Cell {
    match cell {
        Cell::Unsigned(v) => slab.format(format_args!("{v:x}")),
        Cell::Signed(v) if v >= 0 => slab.format(format_args!("{v:x}")),
        Cell::Signed(v) => match i32::try_from(v) {
            Ok(v) => slab.format(format_args!("{v:x}")),
            Err(_) => slab.format(format_args!("{v:x}")),
        },
        _ => Cell::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Value;

    #[test]
    fn positions_name_their_fields() {
        let named = [
            (at::TYPE, "type"),
            (at::SYSCALL, "SYSCALL"),
            (at::SUCCESS, "success"),
            (at::EXIT, "exit"),
            (at::PPID, "ppid"),
            (at::PID, "pid"),
            (at::AUID, "auid"),
            (at::UID, "uid"),
            (at::EUID, "euid"),
            (at::TTY, "tty"),
            (at::COMM, "comm"),
            (at::EXE, "exe"),
            (at::CWD, "cwd"),
            (at::ITEM, "item"),
            (at::NAME, "name"),
            (at::INODE, "inode"),
            (at::DEV, "dev"),
            (at::MODE, "mode"),
            (at::NAMETYPE, "nametype"),
            (at::ARGC, "argc"),
            (at::A0, "a0"),
            (at::MORE - 1, "a15"),
            (at::MORE, "more"),
        ];
        for (i, name) in named {
            assert_eq!(FIELDS[i].path, name);
        }
        // Everything behind is only known by name.
        assert!(FIELDS.iter().enumerate().all(|(i, f)| f.filled == (i <= at::MORE)));
    }

    #[test]
    fn numbers_are_written_as_audit_logs_have_them() {
        let mut slab = Slab::default();
        let mut text = |cell| {
            let cell = hexadecimal(&mut slab, cell);
            match slab.cell_value(cell) {
                Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            }
        };
        let numbers =
            [Cell::Unsigned(0x0004_0000), Cell::Signed(9), Cell::Signed(-100), Cell::Signed(i64::MIN), Cell::Null];
        assert_eq!(numbers.map(&mut text), ["40000", "9", "ffffff9c", "8000000000000000", ""]);
    }

    #[test]
    fn arguments_beyond_the_fields_are_a_list() {
        let mut slab = Slab::default();
        let arguments: Vec<String> = (0..20).map(|i| format!("v{i}")).collect();
        let Cell::List(list) = slab.list(arguments.iter().map(String::as_bytes)) else { panic!("a list") };
        let cells = arguments_of(&slab, list, Cell::Absent);
        let mut seen = Vec::new();
        for cell in &cells[at::A0..=at::MORE] {
            match slab.cell_value(*cell) {
                Value::Text(text) => seen.push(String::from_utf8_lossy(text).into_owned()),
                Value::List(list) => list.each(&mut |text| seen.push(String::from_utf8_lossy(text).into_owned())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((seen, cells[at::ARGC]), (arguments, Cell::Unsigned(20)));
    }
}
