//! What the kernel side leaves out, beside whole kinds: paths that nobody asks about, and what the configuration
//! says is to be ignored. Everything left out is counted by kind and reason.
//!
//! Paths are read by an [`Automaton`] of which the kernel side has room for two. While one is written, every path
//! passes; then the other becomes the one that counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, HashMap, MapData, MapError},
};
use picket_ebpf::{Binary, Kind, Layout, PathClasses, PathState, PathWish, Record, Throttled, kind::seed::Seed};

use super::{
    SensorError,
    automaton::{Automaton, PathTest},
    take,
};

/// Where the mounts of this process are listed.
const MOUNTS: &str = "/proc/self/mountinfo";
/// A group that no text belongs to: nothing is wanted.
const NEVER: u32 = 1 << 30;
/// Kinds with groups of their own: two each.
const MAX_KINDS: usize = 14;

/// Paths that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// None.
    #[default]
    Nothing,
    /// Those for which one of these holds.
    Some(BTreeSet<PathTest>),
    /// All.
    Everything,
}

impl Paths {
    /// What either wants.
    #[must_use]
    pub fn or(self, other: &Paths) -> Paths {
        match (self, other) {
            (Paths::Nothing, other) => other.clone(),
            (paths, Paths::Nothing) => paths,
            (Paths::Some(mut a), Paths::Some(b)) => {
                a.extend(b.iter().cloned());
                Paths::Some(a)
            }
            _ => Paths::Everything,
        }
    }
}

/// The paths that a kind is wanted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Of any operation.
    pub any: Paths,
    /// Also these, of operations that can change the file.
    pub change: Paths,
}

impl Wish {
    /// Every operation on every path.
    pub const ALL: Wish = Wish { any: Paths::Everything, change: Paths::Nothing };

    /// What either wants.
    #[must_use]
    pub fn or(self, other: &Wish) -> Wish {
        Wish { any: self.any.or(&other.any), change: self.change.or(&other.change) }
    }

    fn is_all(&self) -> bool {
        self.any == Paths::Everything
    }
}

/// What the configuration says is to be ignored, by all kinds but exec, fork and exit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Executables: their processes and what those start.
    pub binaries: Vec<PathBuf>,
    /// Control groups, and those below them.
    pub cgroups: Vec<PathBuf>,
    /// If not empty: all but these control groups, and those below them.
    pub only_cgroups: Vec<PathBuf>,
    /// Magic numbers of file systems whose files may be opened unseen; at most eight.
    pub filesystems: Vec<u64>,
    /// Records of one kind that one process may make in a second, and twice that at once; 0 = any number.
    pub rate: u32,
}

/// A process that made more records than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noisy {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Of which kind.
    pub kind: Kind,
    /// Name of the thread that was first to do so.
    pub comm: String,
    /// Records left out so far.
    pub count: u64,
}

/// A structure of the kernel side as the value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);
// SAFETY: a `Layout` is repr(C) and made of integers, and those used here have no padding (the layout test compares
// offsets and sizes with the C side).
unsafe impl<T: Layout + Copy + 'static> Pod for Plain<T> {}

/// The maps, and what is in them.
pub(super) struct Filters {
    states: Array<MapData, Plain<PathState>>,
    classes: Array<MapData, Plain<PathClasses>>,
    wishes: Array<MapData, Plain<PathWish>>,
    settings: Array<MapData, Plain<picket_ebpf::Filters>>,
    binaries: HashMap<MapData, Plain<Binary>, u32>,
    ignored: HashMap<MapData, u32, u32>,
    cgroups: HashMap<MapData, u64, u32>,
    throttled: HashMap<MapData, [u32; 2], Plain<Throttled>>,
    current: picket_ebpf::Filters,
    ignore: Ignore,
    /// What the kernel side lets pass now.
    wanted: BTreeMap<Kind, Wish>,
    /// What the automaton that counts was made of.
    made_of: BTreeMap<Kind, Wish>,
    /// Kinds whose paths are not filtered because the automaton would be too large.
    too_large: bool,
}

impl Filters {
    /// Takes the maps out of the object.
    pub fn take(object: &mut aya::Ebpf, see_own: bool) -> Result<Filters, SensorError> {
        fn array<T: Layout + Copy + 'static>(
            object: &mut aya::Ebpf,
            name: &'static str,
        ) -> Result<Array<MapData, Plain<T>>, SensorError> {
            Array::try_from(take(object, name)?).map_err(|e| SensorError::map(name, e))
        }
        fn hash<K: Pod, V: Pod>(
            object: &mut aya::Ebpf,
            name: &'static str,
        ) -> Result<HashMap<MapData, K, V>, SensorError> {
            HashMap::try_from(take(object, name)?).map_err(|e| SensorError::map(name, e))
        }
        let flags = if see_own { picket_ebpf::Filters::SEE_OWN } else { 0 };
        let mut filters = Filters {
            states: array(object, "PATH_STATES")?,
            classes: array(object, "PATH_CLASSES")?,
            wishes: array(object, "PATH_WISHES")?,
            settings: array(object, "FILTERS")?,
            binaries: hash(object, "BINARIES")?,
            ignored: hash(object, "IGNORED")?,
            cgroups: hash(object, "CGROUPS")?,
            throttled: hash(object, "THROTTLED")?,
            current: picket_ebpf::Filters { flags, bank: 0, rate: 0, burst: 0, magic: [0; 8] },
            ignore: Ignore::default(),
            wanted: BTreeMap::new(),
            made_of: BTreeMap::new(),
            too_large: false,
        };
        filters.write()?;
        Ok(filters)
    }

    /// Lets pass what is `wanted` of the kinds in it; of every other kind, everything.
    pub fn want(&mut self, wanted: &BTreeMap<Kind, Wish>) -> Result<(), SensorError> {
        let filtered = wanted.iter().filter(|(_, wish)| !wish.is_all()).take(MAX_KINDS);
        let wanted: BTreeMap<Kind, Wish> = filtered.map(|(kind, wish)| (*kind, wish.clone())).collect();
        if wanted == self.wanted {
            return Ok(());
        }
        // What is in the automaton already needs no other. While a set of guests follows another, nothing is rewritten
        // that a program may still be reading.
        let there = wanted.iter().all(|(kind, wish)| self.made_of.get(kind) == Some(wish));
        let stays = |kind| there && wanted.contains_key(kind);
        for kind in self.wanted.keys().filter(|kind| !stays(kind)) {
            set(&mut self.wishes, "PATH_WISHES", u32::from(kind.id()), PathWish { any: 0, change: 0 })?;
        }
        self.wanted.clear();
        if !there && !self.build(&wanted)? {
            return Ok(());
        }
        for (number, (kind, wish)) in self.made_of.iter().enumerate().filter(|(_, (kind, _))| wanted.contains_key(kind))
        {
            let (any, change) = groups(number);
            let wish = PathWish { any: group(&wish.any, any), change: group(&wish.change, change) };
            set(&mut self.wishes, "PATH_WISHES", u32::from(kind.id()), wish)?;
        }
        self.wanted = wanted;
        Ok(())
    }

    /// Writes the automaton of these wishes and makes it the one that counts. False when it would be too large.
    fn build(&mut self, wanted: &BTreeMap<Kind, Wish>) -> Result<bool, SensorError> {
        let mut tests: Vec<(u32, &PathTest)> = Vec::new();
        for (number, wish) in wanted.values().enumerate() {
            let (any, change) = groups(number);
            for (group, paths) in [(any, &wish.any), (change, &wish.change)] {
                if let Paths::Some(paths) = paths {
                    tests.extend(paths.iter().map(|test| (group, test)));
                }
            }
        }
        let automaton = Automaton::new(&tests);
        self.too_large = automaton.is_none();
        let Some(automaton) = automaton else {
            tracing::warn!(texts = tests.len(), "too many paths for the kernel side: it reports every path");
            return Ok(false);
        };
        let bank = self.current.bank ^ 1;
        let first = bank * PathState::STATES as u32;
        for (number, state) in (first..).zip(&automaton.states) {
            set(&mut self.states, "PATH_STATES", number, *state)?;
        }
        set(&mut self.classes, "PATH_CLASSES", bank, automaton.classes)?;
        self.current.bank = bank;
        self.write()?;
        self.made_of.clone_from(wanted);
        Ok(true)
    }

    /// Ignores exactly this from now on. Says what of it cannot be; `seeds` are records of the running processes.
    pub fn ignore(&mut self, ignore: &Ignore, seeds: &[Vec<u8>]) -> Result<Vec<String>, SensorError> {
        let mut problems = Vec::new();
        self.ignore = ignore.clone();
        let known: Vec<u64> = self.cgroups.keys().filter_map(Result::ok).collect();
        let mounts = fs::read_to_string(MOUNTS).unwrap_or_default();
        let mut listed: BTreeMap<u64, u32> = BTreeMap::new();
        for (paths, flag) in [
            (&ignore.cgroups, picket_ebpf::Filters::IGNORE_CGROUPS),
            (&ignore.only_cgroups, picket_ebpf::Filters::ONLY_CGROUPS),
        ] {
            for path in paths {
                match cgroup_id(path, &mounts) {
                    Ok(id) => *listed.entry(id).or_default() |= flag,
                    Err(e) => problems.push(format!("there is no control group {}: {e}", path.display())),
                }
            }
        }
        for (&id, &flags) in &listed {
            self.cgroups.insert(id, flags, 0).map_err(|e| SensorError::map("CGROUPS", e))?;
        }
        for id in known.into_iter().filter(|id| !listed.contains_key(id)) {
            gone(self.cgroups.remove(&id)).map_err(|e| SensorError::map("CGROUPS", e))?;
        }
        let files = self.files(&mut problems)?;
        self.mark(&files, seeds)?;
        let mut current = self.current;
        // Nothing would be left if none of the groups that alone are wanted exists.
        let own = current.flags & picket_ebpf::Filters::SEE_OWN;
        current.flags = listed.values().fold(own, |all, flags| all | flags);
        if !ignore.binaries.is_empty() {
            current.flags |= picket_ebpf::Filters::IGNORE_TASKS;
        }
        current.magic = [0; 8];
        for (slot, magic) in current.magic.iter_mut().zip(&ignore.filesystems) {
            *slot = *magic;
        }
        current.rate = ignore.rate;
        current.burst = ignore.rate.saturating_mul(2);
        self.current = current;
        self.write()?;
        Ok(problems)
    }

    /// Whether paths pass that nobody wants, because the automaton would be too large.
    pub fn too_large(&self) -> bool {
        self.too_large
    }

    /// The processes that made more records than they may.
    pub fn noisy(&self) -> Vec<Noisy> {
        let entries = self.throttled.iter().filter_map(Result::ok);
        let noisy = entries.filter_map(|([pid, kind], Plain(said))| {
            let kind = Kind::from_id(u16::try_from(kind).ok()?)?;
            let comm: Vec<u8> = said.comm.iter().copied().take_while(|b| *b != 0).collect();
            Some(Noisy { pid, kind, comm: String::from_utf8_lossy(&comm).into_owned(), count: said.count })
        });
        noisy.collect()
    }

    /// Looks again what files the ignored binaries are: an update makes a new one.
    pub fn refresh(&mut self) -> Result<(), SensorError> {
        if !self.ignore.binaries.is_empty() {
            self.files(&mut Vec::new())?;
        }
        Ok(())
    }

    /// Tells the kernel side the files of the ignored binaries.
    fn files(&mut self, problems: &mut Vec<String>) -> Result<BTreeSet<(u64, u32)>, SensorError> {
        let mounts = fs::read_to_string(MOUNTS).unwrap_or_default();
        let mut files = BTreeSet::new();
        for path in &self.ignore.binaries {
            match file_of(path, &mounts) {
                Ok(file) => drop(files.insert(file)),
                Err(e) => problems.push(format!("there is no binary {}: {e}", path.display())),
            }
        }
        let known: Vec<Plain<Binary>> = self.binaries.keys().filter_map(Result::ok).collect();
        for &(inode, dev) in &files {
            let file = Plain(Binary { inode, dev, reserved: 0 });
            self.binaries.insert(file, 1, 0).map_err(|e| SensorError::map("BINARIES", e))?;
        }
        for file in known.into_iter().filter(|Plain(f)| !files.contains(&(f.inode, f.dev))) {
            gone(self.binaries.remove(&file)).map_err(|e| SensorError::map("BINARIES", e))?;
        }
        Ok(files)
    }

    /// Marks the processes that run now and are of an ignored binary, or descend from one that is.
    fn mark(&mut self, files: &BTreeSet<(u64, u32)>, seeds: &[Vec<u8>]) -> Result<(), SensorError> {
        let known: Vec<u32> = self.ignored.keys().filter_map(Result::ok).collect();
        for pid in known {
            gone(self.ignored.remove(&pid)).map_err(|e| SensorError::map("IGNORED", e))?;
        }
        if files.is_empty() {
            return Ok(());
        }
        let is_ignored =
            |record: &Record<'_>| record.body::<Seed>().is_some_and(|body| files.contains(&(body.inode, body.dev)));
        let records: Vec<Record<'_>> = seeds.iter().filter_map(|bytes| Record::parse(bytes).ok()).collect();
        let parents: BTreeMap<u32, u32> = records.iter().map(|r| (r.header().pid, r.header().ppid)).collect();
        let mut ignored: BTreeSet<u32> = records.iter().filter(|r| is_ignored(r)).map(|r| r.header().pid).collect();
        for &pid in parents.keys() {
            // A chain of parents is short, and a cycle cannot be but in a seed taken while pids were used again.
            let mut chain = vec![pid];
            while let Some(&parent) = chain.last().and_then(|pid| parents.get(pid)) {
                if ignored.contains(&parent) {
                    ignored.extend(&chain);
                    break;
                }
                if chain.contains(&parent) {
                    break;
                }
                chain.push(parent);
            }
        }
        for pid in ignored {
            self.ignored.insert(pid, 1, 0).map_err(|e| SensorError::map("IGNORED", e))?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), SensorError> {
        let current = self.current;
        set(&mut self.settings, "FILTERS", 0, current)
    }
}

fn set<T: Layout + Copy + 'static>(
    map: &mut Array<MapData, Plain<T>>,
    name: &'static str,
    index: u32,
    value: T,
) -> Result<(), SensorError> {
    map.set(index, Plain(value), 0).map_err(|e| SensorError::map(name, e))
}

/// A removal is as good when the entry has gone by itself.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The two groups of a kind, by its number in the automaton.
fn groups(number: usize) -> (u32, u32) {
    (1 << (2 * number), 2 << (2 * number))
}

fn group(paths: &Paths, group: u32) -> u32 {
    match paths {
        Paths::Nothing => NEVER,
        Paths::Some(_) => group,
        Paths::Everything => 0,
    }
}

/// Inode and device of a file, the device as the kernel's super block has it: stat(2) shows another one for file systems
/// with subvolumes, the list of mounts does not.
fn file_of(path: &Path, mounts: &str) -> io::Result<(u64, u32)> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point) = (fields.nth(2)?, fields.nth(1)?);
        let (major, minor) = device.split_once(':')?;
        path.starts_with(point).then_some(())?;
        Some((point.len(), major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?))
    });
    // Of mounts at one place the last one counts.
    let (_, dev) = mounted.max_by_key(|(length, _)| *length).ok_or(io::ErrorKind::NotFound)?;
    Ok((metadata.ino(), dev))
}

/// The id of a control group is the inode of its directory. Only groups of the unified hierarchy have one.
fn cgroup_id(path: &Path, mounts: &str) -> io::Result<u64> {
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let root = Path::new(unified.ok_or_else(|| io::Error::other("the unified hierarchy is not mounted"))?);
    let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    Ok(fs::metadata(root.join(below))?.ino())
}
