//! What a guest may use: processor time, memory, output.

use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

/// Limits of one guest. Each that bites is counted and named in the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Linear memory of one instance, all its memories together. JavaScript needs 95 MB at batches of 1,024.
    pub memory_bytes: usize,
    /// Processor time of one call.
    pub call_cpu: Duration,
    /// Processor time of `init` and of `bind`.
    pub init_cpu: Duration,
    /// A call may last this many times its processor time: what remains when the machine is overloaded or the thread is not run.
    pub wall_factor: u32,
    /// Bytes that the guest may hand to the host in one call, and that its detections or columns of one slab may hold.
    /// A plan may have as many as the guest may have memory.
    pub output_bytes: usize,
    /// Detections of one slab; the rest is refused.
    pub detections: usize,
    /// Evidence items, and fields, of one detection; the rest is cut.
    pub items: usize,
    /// Bytes of one string in a detection; longer ones are cut.
    pub string_bytes: usize,
    /// Lines in the log; the rest is counted.
    pub log_lines_per_second: u32,
    /// Keys and values that the guest keeps in the host.
    pub state_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 128 << 20,
            call_cpu: Duration::from_secs(1),
            init_cpu: Duration::from_secs(10),
            wall_factor: 10,
            output_bytes: 32 << 20,
            detections: 16_384,
            items: 64,
            string_bytes: 64 << 10,
            log_lines_per_second: 20,
            state_bytes: 16 << 20,
        }
    }
}

/// The end of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// Taken when the deadline is first looked at: most calls return before, and this clock is a system call.
    cpu_start: Option<Duration>,
    cpu: Duration,
    wall_start: Instant,
    wall: Duration,
}

impl Deadline {
    pub fn start(cpu: Duration, wall_factor: u32) -> Deadline {
        Deadline { cpu_start: None, cpu, wall_start: Instant::now(), wall: cpu.saturating_mul(wall_factor) }
    }

    /// Why the call has to end, if it has to. Asked at every tick, on the thread of the call.
    pub fn passed(&mut self) -> Option<String> {
        // Epochs tick by the wall clock: two loaded cores would kill honest guests. What counts is the time this thread ran.
        let now = thread_cpu();
        let start = *self.cpu_start.get_or_insert(now);
        if now.saturating_sub(start) > self.cpu {
            Some(format!("cpu deadline of {:?} passed", self.cpu))
        } else if self.wall_start.elapsed() > self.wall {
            Some(format!("wall deadline of {:?} passed", self.wall))
        } else {
            None
        }
    }
}

/// Processor time that this thread has used.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec, which is all that clock_gettime touches.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if result != 0 {
        // Cannot happen on Linux; the wall deadline still holds.
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Counts the memory of one instance.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: usize,
    /// A refused growth surfaces in the guest as a failed allocation and then as any trap: remembered, so that the trap can be named.
    pub refused: bool,
}

/// Elements of one table: functions called indirectly. The largest guests known (Python) have about 15,000.
const TABLE_ELEMENTS: usize = 1 << 17;

impl Memory {
    pub fn new(limit: usize) -> Memory {
        Memory { limit, used: 0, refused: false }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used + desired.saturating_sub(current);
        if used > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.refused = true;
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        256
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories() {
        let mut memory = Memory::new(1 << 20);
        assert!(memory.memory_growing(0, 1 << 19, None).unwrap());
        assert!(memory.memory_growing(0, 1 << 19, None).unwrap());
        assert!(!memory.refused);
        assert!(!memory.memory_growing(1 << 19, (1 << 19) + (1 << 16), None).unwrap());
        assert!(memory.refused);
    }

    #[test]
    fn the_clock_is_that_of_this_thread() {
        let busy = Duration::from_millis(20);
        let before = thread_cpu();
        let spin = move || {
            let start = thread_cpu();
            let mut x = 1_u64;
            while thread_cpu().saturating_sub(start) < busy {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        };
        std::thread::spawn(spin).join().unwrap();
        assert!(thread_cpu().saturating_sub(before) < busy, "waiting for another thread costs no time of this one");
    }

    #[test]
    fn a_deadline_passes_by_processor_time() {
        let mut deadline = Deadline::start(Duration::from_millis(2), 1_000_000);
        let mut x = 1_u64;
        let reason = loop {
            x = std::hint::black_box(x.wrapping_mul(3));
            if let Some(reason) = deadline.passed() {
                break reason;
            }
        };
        assert_eq!(reason, "cpu deadline of 2ms passed");
    }
}
