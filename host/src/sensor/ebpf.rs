//! The live source: loads the kernel side, attaches what is wanted, reads the ring.
//!
//! Every program of every rung is loaded at [`Ebpf::open`], so that later changes need no more than
//! attaching. [`Ebpf::attach`] climbs the ladder for each kind: the best rung that loads, attaches and
//! *whose canary arrives*. Records come out of [`Ebpf::poll`] in ring order, which keeps cause before
//! effect; their times may step back by microseconds.

mod automaton;
mod canary;
mod counters;
mod error;
mod filters;
mod interest;
mod ladder;
mod probe;
mod program;
mod sys;
mod tamper;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    mem::offset_of,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    Btf, EbpfLoader, Endianness,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::Program,
};
use picket_ebpf::{Class, Flags, Header, Kind, OBJECT};

pub use self::{
    automaton::{PathOp, PathTest},
    counters::{Counters, KindCount},
    error::SensorError,
    filters::{Ignore, Noisy, Paths, Wish},
    interest::{InterestSet, KindStatus},
    probe::Probe,
    sys::enable_run_time,
    tamper::Tamper,
};
use self::{
    counters::WORDS,
    filters::Filters,
    probe::Held,
    program::{Attached, Spec},
};
pub use picket_ebpf::Rung;

/// Where kernels keep their type information.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Records handed over by one [`Ebpf::poll`] at most, so that the caller keeps its turn.
const RECORDS_PER_POLL: usize = 4096;
/// Bytes read from the task iterator at once.
const SEED_CHUNK: usize = 64 << 10;

/// How to open the live source.
#[derive(Clone, Debug, Default)]
pub struct EbpfOptions {
    /// Kernel type information, if not the running kernel's own.
    pub btf: Option<PathBuf>,
    /// Size of the ring in bytes, rounded up to a power of two; by default 2 MiB per CPU, at least
    /// 8 and at most 64 MiB.
    pub ring_bytes: Option<usize>,
    /// Only this rung, instead of the best one that works.
    pub rung: Option<Rung>,
    /// Report what we do ourselves like anything else.
    pub see_own: bool,
}

/// A program of the object: what it is and whether it is loaded and attached.
struct Entry {
    spec: Spec,
    load_error: Option<String>,
    attached: Option<Attached>,
    /// How to ask about the link.
    held: Option<Held>,
    /// Hits missed by links that are gone.
    missed_before: u64,
    helper_calls: u32,
}

/// The loaded kernel side.
pub struct Ebpf {
    object: aya::Ebpf,
    programs: BTreeMap<String, Entry>,
    ring: RingBuf<MapData>,
    interest: Array<MapData, [u32; 2]>,
    config: Array<MapData, [u32; 2]>,
    counters: PerCpuArray<MapData, [u64; WORDS]>,
    filters: Filters,
    only: Option<Rung>,
    wanted: InterestSet,
    status: BTreeMap<Kind, KindStatus>,
    canaries_read: u64,
    read: u64,
    /// What the maps must hold, and how far the counters were: see [`Ebpf::check_maps`].
    interest_written: BTreeMap<Kind, [u32; 2]>,
    own_config: [u32; 2],
    runs_seen: BTreeMap<Kind, u64>,
}

impl Ebpf {
    /// Loads every program into the kernel and attaches the lifecycle kinds.
    ///
    /// # Errors
    /// [`SensorError`], which says whether privileges, type information or the kernel is to blame.
    /// That a single rung of a kind does not load is no error: see [`KindStatus`].
    pub fn open(options: EbpfOptions) -> Result<Ebpf, SensorError> {
        check_privileges()?;
        let path = options.btf.unwrap_or_else(|| PathBuf::from(KERNEL_BTF));
        let btf = Btf::parse_file(&path, Endianness::default())
            .map_err(|source| SensorError::NoBtf { path, source: Box::new(source) })?;
        sys::lift_memlock_limit();
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| SensorError::io("count the processors", source))?;
        let ring_bytes = ring_bytes(options.ring_bytes, cpus);
        let mut object = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("RING", ring_bytes)
            .map_max_entries("BIG_SLOTS", cpus as u32)
            .load(OBJECT)
            .map_err(|source| SensorError::Object(Box::new(source)))?;

        let mut programs = BTreeMap::new();
        for (name, program) in object.programs_mut() {
            let Some(spec) = Spec::parse(name) else { continue };
            let load_error = program::load(program, &spec, &btf).err();
            if let Some(error) = &load_error {
                tracing::debug!(program = name, error, "program does not load");
            }
            programs.insert(name.to_owned(), Entry::new(spec, load_error));
        }
        let ring = RingBuf::try_from(take(&mut object, "RING")?).map_err(|e| SensorError::map("RING", e))?;
        let interest = Array::try_from(take(&mut object, "INTEREST")?).map_err(|e| SensorError::map("INTEREST", e))?;
        let config = Array::try_from(take(&mut object, "CONFIG")?).map_err(|e| SensorError::map("CONFIG", e))?;
        let counters =
            PerCpuArray::try_from(take(&mut object, "COUNTERS")?).map_err(|e| SensorError::map("COUNTERS", e))?;
        let filters = Filters::take(&mut object, options.see_own)?;
        let mut ebpf = Ebpf {
            object,
            programs,
            ring,
            interest,
            config,
            counters,
            filters,
            only: options.rung,
            wanted: InterestSet::default(),
            status: BTreeMap::new(),
            canaries_read: 0,
            read: 0,
            interest_written: BTreeMap::new(),
            own_config: [0; 2],
            runs_seen: BTreeMap::new(),
        };
        ebpf.count_helper_calls();
        // Reading the iterator also tells the programs who we are.
        ebpf.seed(&mut |_| ())?;
        ebpf.own_config = ebpf.config.get(&0, 0).map_err(|e| SensorError::map("CONFIG", e))?;
        for status in ebpf.attach(&InterestSet::default())? {
            if status.rung.is_none() {
                let reason = status.degraded.unwrap_or_default();
                return Err(SensorError::Program { program: status.kind.name().to_owned(), reason });
            }
        }
        Ok(ebpf)
    }

    /// Makes the kernel side report exactly `wanted` and the lifecycle kinds: attaches what is new,
    /// keeps what stays, detaches what is no longer needed. While generations overlap, ask for the
    /// [`InterestSet::union`] first. Every kind's hook is probed (see [`Ebpf::probe`]).
    ///
    /// # Errors
    /// When a map cannot be written. A kind without a working rung is reported in its status.
    pub fn attach(&mut self, wanted: &InterestSet) -> Result<Vec<KindStatus>, SensorError> {
        self.wanted = wanted.clone();
        self.filters.want(wanted.paths())?;
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|&kind| wanted.flags(kind) != 0).collect();
        self.climb(&kinds)?;
        let unwanted: Vec<Kind> = self.status.keys().copied().filter(|kind| !kinds.contains(kind)).collect();
        for kind in unwanted {
            self.set_interest(kind, 0, None)?;
            self.status.remove(&kind);
        }
        self.detach_unused();
        self.find_links();
        Ok(self.status.values().cloned().collect())
    }

    /// Probes every attached kind's hook again and climbs the ladder where one has gone silent. To be
    /// called now and then: a hook can be taken away from outside.
    ///
    /// # Errors
    /// As [`Ebpf::attach`].
    pub fn probe(&mut self) -> Result<Vec<KindStatus>, SensorError> {
        let wanted = self.wanted.clone();
        self.filters.refresh()?;
        self.attach(&wanted)
    }

    /// Ignores exactly this from now on, and says what of it there is not.
    ///
    /// # Errors
    /// When a map cannot be written, or the iterator does not serve.
    pub fn ignore(&mut self, ignore: &Ignore) -> Result<Vec<String>, SensorError> {
        let mut seeds = Vec::new();
        if !ignore.binaries.is_empty() {
            self.seed(&mut |bytes| seeds.push(bytes.to_vec()))?;
        }
        self.filters.ignore(ignore, &seeds)
    }

    /// The processes that made more records than they may.
    pub fn noisy(&self) -> Vec<Noisy> {
        self.filters.noisy()
    }

    /// Whether the kernel side reports paths that nobody asked for, because too many others are asked for.
    pub fn too_many_paths(&self) -> bool {
        self.filters.too_large()
    }

    /// How every wanted kind is seen.
    pub fn status(&self) -> impl Iterator<Item = &KindStatus> {
        self.status.values()
    }

    /// Hands over one `seed` record for each process that exists now.
    ///
    /// Attach first and read the ring afterwards: a process that starts meanwhile is then in the seed,
    /// in the ring, or in both, and never in neither.
    ///
    /// # Errors
    /// When the kernel has no task iterator or stops serving it.
    pub fn seed(&mut self, f: &mut dyn FnMut(&[u8])) -> Result<usize, SensorError> {
        let name = self.programs.iter().find(|(_, entry)| entry.spec.rung.is_none()).map(|(name, _)| name.clone());
        let (name, entry) =
            name.and_then(|name| self.programs.get(&name).map(|entry| (name, entry))).ok_or_else(|| {
                SensorError::Program { program: "iter".to_owned(), reason: "not in the object".to_owned() }
            })?;
        let refused = |reason: String| SensorError::Program { program: name.clone(), reason };
        if let Some(error) = &entry.load_error {
            return Err(refused(error.clone()));
        }
        let Some(Program::Iter(iterator)) = self.object.program_mut(&name) else {
            return Err(refused("not an iterator".to_owned()));
        };
        let mut file = iterator
            .attach()
            .and_then(|link| iterator.take_link(link))
            .map_err(|error| refused(error.to_string()))?
            .into_file()
            .map_err(|error| refused(error.to_string()))?;
        let (mut buffer, mut filled, mut records) = (vec![0; 2 * SEED_CHUNK], 0, 0);
        loop {
            let n = file.read(&mut buffer[filled..]).map_err(|e| SensorError::io("read the task iterator", e))?;
            if n == 0 {
                return Ok(records);
            }
            filled += n;
            // whole records only: a read may end in the middle of one
            let mut at = 0;
            while let Some(length) = record_length(&buffer[at..filled]) {
                f(&buffer[at..at + length]);
                records += 1;
                at += length;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
        }
    }

    /// Hands over the records in the ring, in its order; waits up to `timeout` when there are none.
    /// Returns how many were handed over. The kernel side wakes the reader only when much is unread,
    /// so the timeout (5 ms is right) bounds the delay of a lone record.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn poll(&mut self, timeout: Duration, f: &mut dyn FnMut(&[u8])) -> Result<usize, SensorError> {
        let mut records = self.drain(f);
        if records == 0 {
            sys::wait_readable(self.ring.as_fd(), timeout).map_err(|e| SensorError::io("wait for the ring", e))?;
            records = self.drain(f);
        }
        Ok(records)
    }

    /// The counters since the start.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        self.counters_with(&self.probes()?)
    }

    /// The same for who has asked about the programs already: that is a system call or two for each.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters_with(&self, probes: &[Probe]) -> Result<Counters, SensorError> {
        let mut all = Counters { canaries_read: self.canaries_read, read: self.read, ..Counters::default() };
        let loaded = probes.iter().filter(|p| p.refused.is_none());
        all.missed = loaded.map(|p| (p.program.clone(), p.missed)).collect();
        for &kind in Kind::ALL.iter().filter(|kind| kind.class() != Class::Iterator) {
            all.kinds.insert(kind, KindCount::from_words(&self.sums(kind)?));
        }
        Ok(all)
    }

    /// What to add to a record's time to get nanoseconds since the epoch. The clocks drift apart when
    /// the wall clock is set or slewed, so ask again now and then.
    pub fn clock_offset(&self) -> i64 {
        sys::realtime_minus_boottime()
    }

    /// Every program of the object and, where the kernel refused it, why.
    pub fn programs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.programs.iter().map(|(name, entry)| (name.as_str(), entry.load_error.as_deref()))
    }

    fn drain(&mut self, f: &mut dyn FnMut(&[u8])) -> usize {
        const FLAGS: usize = offset_of!(Header, flags);
        let mut records = 0;
        while records < RECORDS_PER_POLL {
            let Some(item) = self.ring.next() else { break };
            let flags = item.get(FLAGS..FLAGS + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
            if Flags(flags).has(Flags::CANARY) {
                self.canaries_read += 1;
                continue;
            }
            f(&item);
            records += 1;
        }
        self.read += records as u64;
        records
    }

    fn set_interest(&mut self, kind: Kind, flags: u32, rung: Option<Rung>) -> Result<(), SensorError> {
        let value = [flags, rung.map_or(0, |rung| rung as u32)];
        self.interest_written.insert(kind, value);
        self.interest.set(u32::from(kind.id()), value, 0).map_err(|e| SensorError::map("INTEREST", e))
    }

    /// A kind's counters summed over the CPUs, as words in the order of `KindCounters`.
    fn sums(&self, kind: Kind) -> Result<[u64; WORDS], SensorError> {
        let values = self.counters.get(&u32::from(kind.id()), 0).map_err(|e| SensorError::map("COUNTERS", e))?;
        let mut sums = [0; WORDS];
        for value in values.iter() {
            for (sum, word) in sums.iter_mut().zip(value) {
                *sum += word;
            }
        }
        Ok(sums)
    }
}

/// Length of the whole record at the start of `bytes`, if it is all there.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(bytes.first_chunk::<4>().copied()?) as usize;
    (length >= size_of::<Header>() && length <= bytes.len()).then_some(length)
}

fn take(object: &mut aya::Ebpf, name: &'static str) -> Result<aya::maps::Map, SensorError> {
    object.take_map(name).ok_or_else(|| SensorError::map(name, std::io::Error::from(std::io::ErrorKind::NotFound)))
}

fn ring_bytes(wanted: Option<usize>, cpus: usize) -> u32 {
    const MIB: usize = 1 << 20;
    let bytes = wanted.unwrap_or_else(|| (2 * MIB).saturating_mul(cpus).clamp(8 * MIB, 64 * MIB));
    bytes.clamp(64 << 10, 1 << 30).next_power_of_two() as u32
}

/// Says precisely what is missing, before the kernel answers EPERM to everything alike.
fn check_privileges() -> Result<(), SensorError> {
    const SYS_ADMIN: u32 = 21;
    const NEEDED: [(u32, &str); 2] = [(39, "bpf"), (38, "perfmon")];
    let status = fs::read_to_string("/proc/self/status").map_err(|e| SensorError::io("read /proc/self/status", e))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |cap: u32| effective >> cap & 1 == 1;
    if !has(SYS_ADMIN) {
        let missing: Vec<&str> = NEEDED.iter().filter(|(cap, _)| !has(*cap)).map(|(_, name)| *name).collect();
        if !missing.is_empty() {
            return Err(SensorError::NotPermitted { missing: missing.join(", ") });
        }
    }
    let lockdown = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return Err(SensorError::Lockdown);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_size_follows_the_processors_within_bounds() {
        assert_eq!(ring_bytes(None, 1), 8 << 20);
        assert_eq!(ring_bytes(None, 6), 16 << 20);
        assert_eq!(ring_bytes(None, 500), 64 << 20);
        assert_eq!(ring_bytes(Some(100_000), 1), 128 << 10);
        assert_eq!(ring_bytes(Some(0), 1), 64 << 10);
    }

    #[test]
    fn seed_records_are_framed_by_their_length() {
        let mut bytes = vec![0u8; size_of::<Header>() + 8];
        bytes[..4].copy_from_slice(&(size_of::<Header>() as u32).to_ne_bytes());
        assert_eq!(record_length(&bytes), Some(size_of::<Header>()));
        assert_eq!(record_length(&bytes[..size_of::<Header>() - 1]), None);
        assert_eq!(record_length(&bytes[..3]), None);
        bytes[..4].copy_from_slice(&7u32.to_ne_bytes());
        assert_eq!(record_length(&bytes), None);
    }
}
