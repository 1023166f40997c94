//! The ladder: for each kind the best rung that loads, attaches and whose canary arrives.

use std::{collections::VecDeque, time::Duration};

use picket_ebpf::{Class, Hook, Kind, Rung, Tracepoint};

use super::{
    Ebpf, Entry, KindStatus, SensorError, canary,
    counters::{CANARY, RUN},
    program,
};

/// How often, and how long apart, to look again for a canary that is late.
const CANARY_PATIENCE: u32 = 100;
const CANARY_PAUSE: Duration = Duration::from_millis(2);

/// A kind on its way to the rung it will be on.
struct Climb {
    kind: Kind,
    /// Not tried yet, the best first.
    rungs: VecDeque<Rung>,
    /// Why the others do not work.
    reasons: Vec<String>,
}

/// A rung that a kind's programs are attached on.
struct Place {
    rung: Rung,
    /// Its main hook, as `System.Hook` names it.
    hook: &'static str,
    /// What is not seen there.
    lacks: Vec<String>,
}

impl Climb {
    fn new(kind: Kind, rungs: Vec<Rung>) -> Climb {
        Climb { kind, rungs: rungs.into(), reasons: Vec::new() }
    }

    fn fell(&mut self, rung: Rung, reason: &str) {
        self.reasons.push(format!("no {}: {reason}", rung.name()));
    }
}

impl Ebpf {
    /// Puts each of these kinds on the best rung that works. All of them try their next rung together, so that the
    /// canaries fly once for all and not once for each.
    pub(super) fn climb(&mut self, kinds: &[Kind]) -> Result<(), SensorError> {
        let mut climbing: Vec<Climb> = kinds.iter().map(|&kind| Climb::new(kind, self.rungs(kind))).collect();
        while !climbing.is_empty() {
            let mut placed = Vec::new();
            for mut climb in climbing.drain(..) {
                match self.place(&mut climb)? {
                    Some(place) => placed.push((climb, place)),
                    None => self.settle(climb, None)?,
                }
            }
            let tried: Vec<Kind> = placed.iter().map(|(climb, _)| climb.kind).filter(|k| k.has_canary()).collect();
            let silent = self.silent(&tried)?;
            for (mut climb, place) in placed {
                if silent.contains(&climb.kind) {
                    climb.fell(place.rung, "attached, but its canary did not arrive");
                    climbing.push(climb);
                } else {
                    self.settle(climb, Some(place))?;
                }
            }
        }
        Ok(())
    }

    /// The rungs that a kind may be on, the best first.
    fn rungs(&self, kind: Kind) -> Vec<Rung> {
        let has: Vec<Rung> = [Rung::Kprobe, Rung::Tracepoint].into_iter().filter(|&r| self.has(kind, r)).collect();
        match self.only {
            Some(only) if has.contains(&only) => vec![only],
            _ => has,
        }
    }

    /// Attaches a kind's programs on the first of its rungs that takes them; `None` when none does.
    fn place(&mut self, climb: &mut Climb) -> Result<Option<Place>, SensorError> {
        while let Some(rung) = climb.rungs.pop_front() {
            match self.attach_rung(climb.kind, rung) {
                Ok(place) => {
                    self.set_interest(climb.kind, self.wanted.flags(climb.kind), Some(rung))?;
                    return Ok(Some(place));
                }
                Err(reason) => climb.fell(rung, &reason),
            }
        }
        Ok(None)
    }

    /// Notes where a kind has come to.
    fn settle(&mut self, climb: Climb, place: Option<Place>) -> Result<(), SensorError> {
        let kind = climb.kind;
        if place.is_none() {
            self.set_interest(kind, 0, None)?;
        }
        let (rung, hook, lacks) = place.map_or((None, "", Vec::new()), |p| (Some(p.rung), p.hook, p.lacks));
        let lacks: Vec<String> = lacks.into_iter().chain(climb.reasons).collect();
        let degraded = (rung.is_none() || !lacks.is_empty()).then(|| lacks.join("; "));
        if let Some(reason) = &degraded {
            tracing::debug!(kind = kind.name(), hook, reason, "kind is not seen completely");
        }
        self.status.insert(kind, KindStatus { kind, rung, hook, degraded });
        Ok(())
    }

    /// Whether the object has programs of a kind on a rung. Many kinds are seen truthfully at a tracepoint
    /// and have no kprobes.
    fn has(&self, kind: Kind, rung: Rung) -> bool {
        let own = |e: &Entry| e.spec.kind == Some(kind) && e.spec.rung == Some(rung) && e.spec.essential;
        self.programs.values().any(own) || (rung == Rung::Tracepoint && kind.tracepoint() == Tracepoint::SystemCall)
    }

    /// Attaches a kind's programs on one rung, or says why the rung does not work.
    fn attach_rung(&mut self, kind: Kind, rung: Rung) -> Result<Place, String> {
        let own = |entry: &Entry| entry.spec.kind == Some(kind) && entry.spec.rung == Some(rung);
        let shared = rung == Rung::Tracepoint && kind.tracepoint() == Tracepoint::SystemCall;
        let mut names: Vec<String> = self
            .programs
            .iter()
            .filter(|(_, entry)| own(entry) || (shared && entry.spec.kind.is_none() && entry.spec.rung == Some(rung)))
            .map(|(name, _)| name.clone())
            .collect();
        if !names.iter().any(|name| self.programs[name].spec.essential) {
            return Err("no such hook".to_owned());
        }
        // Programs at one hook run in the order of their attachment: those that prepare go first.
        names.sort_by_key(|name| self.programs[name].spec.essential);
        let mut lacks = Vec::new();
        for name in names {
            if let Err(reason) = self.attach_program(&name) {
                let spec = &self.programs[&name].spec;
                if spec.essential {
                    return Err(reason);
                }
                tracing::debug!(program = name, reason, "hook beside the main one does not work");
                lacks.push(format!("{} {} is not there", rung.name(), spec.target));
            }
        }
        let hook = match rung {
            Rung::Kprobe => Hook::Kprobe.name(),
            Rung::Tracepoint if shared => Hook::SysExit.name(),
            Rung::Tracepoint if kind.tracepoint() == Tracepoint::Cgroup => Hook::Cgroup.name(),
            Rung::Tracepoint => Hook::Tracepoint.name(),
        };
        if rung == Rung::Tracepoint && !kind.blind_spot().is_empty() {
            lacks.insert(0, kind.blind_spot().to_owned());
        }
        Ok(Place { rung, hook, lacks })
    }

    fn attach_program(&mut self, name: &str) -> Result<(), String> {
        let Some(entry) = self.programs.get_mut(name) else { return Err("not in the object".to_owned()) };
        if let Some(error) = &entry.load_error {
            return Err(error.clone());
        }
        if entry.attached.is_none() {
            let program = self.object.program_mut(name).ok_or("not in the object")?;
            entry.attached = Some(program::attach(program, &entry.spec)?);
        }
        Ok(())
    }

    /// Detaches the programs that no kind needs on the rung it is on.
    pub(super) fn detach_unused(&mut self) {
        let status = &self.status;
        let on = |kind: Kind, rung| status.get(&kind).is_some_and(|s| s.rung == Some(rung));
        for entry in self.programs.values_mut() {
            let needed = match (entry.spec.kind, entry.spec.rung) {
                (_, None) => false,
                (Some(kind), Some(rung)) => on(kind, rung),
                (None, Some(rung)) => {
                    status.keys().any(|&kind| on(kind, rung) && kind.tracepoint() == Tracepoint::SystemCall)
                }
            };
            if !needed {
                entry.release();
            }
        }
    }

    /// Of these kinds, those whose hook does not see an operation of our own.
    fn silent(&mut self, kinds: &[Kind]) -> Result<Vec<Kind>, SensorError> {
        let count = |ebpf: &Ebpf, kind: Kind| {
            let counted = if kind.class() == Class::Lifecycle { RUN } else { CANARY };
            ebpf.sums(kind).map(|sums| sums[counted])
        };
        let mut waiting = Vec::new();
        for &kind in kinds {
            waiting.push((kind, count(self, kind)?));
        }
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.config.get(&0, 0).map_err(|e| SensorError::map("CONFIG", e))?[0];
        self.config.set(0, [own, 1], 0).map_err(|e| SensorError::map("CONFIG", e))?;
        canary::operate();
        // A joined thread's exit hook may run a moment after the join returns.
        for patience in (0..=CANARY_PATIENCE).rev() {
            let mut still = Vec::new();
            for (kind, before) in waiting {
                if count(self, kind)? <= before {
                    still.push((kind, before));
                }
            }
            waiting = still;
            if waiting.is_empty() || patience == 0 {
                break;
            }
            std::thread::sleep(CANARY_PAUSE);
        }
        self.config.set(0, [own, 0], 0).map_err(|e| SensorError::map("CONFIG", e))?;
        Ok(waiting.into_iter().map(|(kind, _)| kind).collect())
    }
}
