//! Write Picket guests: implement [`Detector`] or [`Enricher`], read typed columns, export with one macro.
//!
//! ```
//! use picket_guest::{Analytic, Binding, Detection, Detector, Diagnostic, Level, Outcome, Plan, RowRef, Setup, Source, Turn};
//!
//! struct Curl;
//!
//! impl Detector for Curl {
//!     fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
//!         let plan = Plan::new()
//!             .subscribe(Source::category("process_creation"), &["CommandLine"])
//!             .analytic(Analytic::new("curl-pipe", "curl piped into a shell", Level::High));
//!         Ok((Curl, plan))
//!     }
//!
//!     fn on_events(&mut self, turn: &Turn) -> Outcome {
//!         let mut outcome = Outcome::default();
//!         for (batch, row) in turn.rows() {
//!             let Some(line) = turn.batches[batch as usize].columns[0].text(row) else { continue };
//!             if line.starts_with(b"curl ") && line.ends_with(b"| sh") {
//!                 outcome.detections.push(Detection::at(0, RowRef { batch, row }));
//!             }
//!         }
//!         outcome
//!     }
//! }
//!
//! picket_guest::export_detector!(Curl);
//! ```
//!
//! A guest is deterministic: it has no clock but [`Turn::watermark`], no entropy but [`Setup::seed`] (see [`Seeded`]), no files but
//! [`Setup::files`]. A panic reaches the log of the host before it becomes a trap. Keep `std::time`, `std::fs`, `std::net` and
//! `std::thread` out: they panic on the target without WASI.

mod columns;
#[doc(hidden)]
pub mod seat;
mod seeded;

pub use bindings::detector::picket::guest::types::{
    Analytic, Availability, Batch, Binding, BoundField, Cells, Clause, Column, Detection, Diagnostic, Evidence,
    Failure, File, Gravity, Level, Node, Op, Outcome, Output, Plan, Role, RowRef, Scaling, Setup, Shape, Source,
    Subscription, TextLists, Texts, Turn, Value,
};
pub use columns::{ColumnBuilder, TextItems};
pub use seeded::Seeded;

#[doc(hidden)]
pub mod bindings {
    #![allow(
        clippy::pedantic,
        unsafe_op_in_unsafe_fn,
        reason = "generated from wit/ by wit-bindgen, which has its own rules"
    )]

    pub mod detector {
        wit_bindgen::generate!({
            path: "../../wit/0.1.0",
            world: "detector-guest",
            export_macro_name: "seat_detector",
            pub_export_macro: true,
            default_bindings_module: "picket_guest::bindings::detector",
            generate_unused_types: true,
            additional_derives: [PartialEq],
        });
    }

    /// Shares every type with [`detector`], so that one set of readers serves both worlds.
    pub mod enricher {
        wit_bindgen::generate!({
            path: "../../wit/0.1.0",
            world: "enricher-guest",
            export_macro_name: "seat_enricher",
            pub_export_macro: true,
            default_bindings_module: "picket_guest::bindings::enricher",
            with: {
                "picket:guest/types@0.1.0": crate::bindings::detector::picket::guest::types,
                "picket:guest/host@0.1.0": crate::bindings::detector::picket::guest::host,
                "picket:guest/lookup@0.1.0": crate::bindings::detector::picket::guest::lookup,
            },
        });
    }

    /// The optional export `explain`: a world of its own, which the encoder merges with that of the detector.
    pub mod explaining {
        wit_bindgen::generate!({
            path: "../../wit/0.1.0",
            inline: "
                package picket:sdk;
                world explaining {
                    export picket:guest/explain@0.1.0;
                }
            ",
            export_macro_name: "seat_explain",
            pub_export_macro: true,
            default_bindings_module: "picket_guest::bindings::explaining",
            with: {
                "picket:guest/types@0.1.0": crate::bindings::detector::picket::guest::types,
            },
        });
    }

    /// The optional export `memory`, likewise.
    pub mod remembering {
        wit_bindgen::generate!({
            path: "../../wit/0.1.0",
            inline: "
                package picket:sdk-memory;
                world remembering {
                    export picket:guest/memory@0.1.0;
                }
            ",
            export_macro_name: "seat_memory",
            pub_export_macro: true,
            default_bindings_module: "picket_guest::bindings::remembering",
        });
    }
}

/// The host's log and counters.
pub mod host {
    pub use crate::bindings::detector::picket::guest::host::Severity;

    /// Writes one line to the host's log, under the name of this guest and within its rate.
    pub fn log(severity: Severity, message: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::detector::picket::guest::host::log(severity, message);
        // Natively (unit tests of a guest) there is no host.
        #[cfg(not(target_arch = "wasm32"))]
        eprintln!("{severity:?}: {message}");
    }

    /// Adds to a counter of this guest; the host exports it as a metric.
    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings::detector::picket::guest::host::count;

    /// Natively there is no host to count.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn count(_name: &str, _by: u64) {}
}

/// More of an event than the subscribed columns. Only rows of the current turn; slower than a column. Not available natively.
#[cfg(target_arch = "wasm32")]
pub use bindings::detector::picket::guest::lookup;

/// What a detector keeps over traps, swaps and restarts. Writes count only if the call returns. Not available natively.
#[cfg(target_arch = "wasm32")]
pub use bindings::detector::picket::guest::state;

/// A guest that reports detections.
pub trait Detector: Sized + 'static {
    /// Reads config and files, and says what to subscribe to and what can be detected. `Err` refuses to start: use it only when
    /// nothing at all can run, and put findings about single rules into [`Plan::diagnostics`].
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>>;

    /// Learns which subscribed fields exist here: one binding per subscription, in the order of the plan.
    fn bind(&mut self, _bindings: &[Binding]) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// Looks at one turn. A batch is present for each subscription that has rows.
    fn on_events(&mut self, turn: &Turn) -> Outcome;
}

/// A detector that can say why. Exported with [`export_explaining_detector!`].
pub trait Explain: Detector {
    /// Why the plan's analytic number `analytic` does or does not match the rows of this turn, which are one event: a flat tree.
    fn explain(&mut self, analytic: u32, turn: &Turn) -> Vec<Node>;
}

/// A detector whose instance on `@detection` remembers: over traps, swaps and restarts. Exported with
/// [`export_remembering_detector!`].
///
/// After [`Memory::restore`], the rows since the oldest part come once more; what they make is not reported again, what they write to
/// `state` does not count, and `lookup` knows nothing of them. A part must ignore rows that it has seen, by their seqs.
pub trait Memory: Detector {
    /// How many parts there are now. They are taken one at a time, with rows in between.
    fn parts(&mut self) -> u32;

    /// One part as bytes. The same memory makes the same bytes.
    fn snapshot(&mut self, part: u32) -> Vec<u8>;

    /// Into a guest that has seen no rows yet. `Err`: it begins with nothing.
    fn restore(&mut self, parts: &[Vec<u8>]) -> Result<(), String>;
}

/// A guest that adds columns to events.
pub trait Enricher: Sized + 'static {
    /// See [`Detector::init`]; the columns are [`Plan::outputs`].
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>>;

    /// See [`Detector::bind`].
    fn bind(&mut self, _bindings: &[Binding]) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// Per batch of the turn, per output of the plan, one column of `batch.rows` cells (see [`ColumnBuilder`]).
    fn enrich(&mut self, turn: &Turn) -> Vec<Vec<Column>>;
}

impl Plan {
    /// A plan that subscribes to nothing.
    pub fn new() -> Plan {
        Plan {
            subscriptions: Vec::new(),
            outputs: Vec::new(),
            analytics: Vec::new(),
            state_format: 1,
            diagnostics: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Adds a subscription handled by one instance in host order.
    #[must_use]
    pub fn subscribe(mut self, source: Source, fields: &[&str]) -> Plan {
        self.subscriptions.push(Subscription {
            source,
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            where_: Vec::new(),
            scaling: Scaling::Single,
        });
        self
    }

    /// Lets the host spread the rows of every subscription over several instances: right where rows do not depend on each other.
    #[must_use]
    pub fn replicated(mut self) -> Plan {
        self.subscriptions.iter_mut().for_each(|s| s.scaling = Scaling::Replicas);
        self
    }

    #[must_use]
    pub fn analytic(mut self, analytic: Analytic) -> Plan {
        self.analytics.push(analytic);
        self
    }

    #[must_use]
    pub fn output(mut self, name: &str, shape: Shape, doc: &str) -> Plan {
        self.outputs.push(Output { name: name.to_owned(), shape, doc: doc.to_owned() });
        self
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Source {
    /// Every event.
    pub fn everything() -> Source {
        Source { kind: None, category: None, product: None, service: None }
    }

    /// Events of one kind, by its name.
    pub fn kind(name: &str) -> Source {
        Source { kind: Some(name.to_owned()), ..Source::everything() }
    }

    /// A Sigma log source of Linux.
    pub fn category(name: &str) -> Source {
        Source { category: Some(name.to_owned()), product: Some("linux".to_owned()), ..Source::everything() }
    }
}

impl Analytic {
    /// An analytic whose detections become alerts.
    pub fn new(id: &str, title: &str, level: Level) -> Analytic {
        Analytic {
            id: id.to_owned(),
            title: title.to_owned(),
            level,
            deliver: true,
            file: String::new(),
            line: 0,
            metadata: "{}".to_owned(),
        }
    }
}

impl Detection {
    /// A detection of the plan's analytic number `analytic` in a row of this turn.
    pub fn at(analytic: u32, row: RowRef) -> Detection {
        Detection {
            analytic,
            row: Some(row),
            level: None,
            key: String::new(),
            evidence: Vec::new(),
            fields: Vec::new(),
            related: Vec::new(),
        }
    }

    /// Says which value of which field was decisive.
    #[must_use]
    pub fn because(mut self, field: &str, pattern: &str, value: &[u8]) -> Detection {
        self.evidence.push(Evidence {
            selection: String::new(),
            field: field.to_owned(),
            pattern: pattern.to_owned(),
            value: value.to_vec(),
        });
        self
    }
}

#[expect(clippy::derivable_impls, reason = "the type is generated")]
impl Default for Outcome {
    fn default() -> Outcome {
        Outcome { detections: Vec::new(), failures: Vec::new() }
    }
}

impl Turn {
    /// Every (batch, row) of the turn.
    pub fn rows(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.batches.iter().enumerate().flat_map(|(b, batch)| (0..batch.rows).map(move |row| (b as u32, row)))
    }
}

/// Exports a [`Detector`] from this crate (a `cdylib`).
#[macro_export]
macro_rules! export_detector {
    ($guest:ty) => {
        // Names of component exports are none for a native linker: natively, only the trait is checked.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::seat::detects::<$guest>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::__detector_seat!($guest);
            $crate::bindings::detector::seat_detector! { Seat with_types_in $crate::bindings::detector }
        };
    };
}

/// Exports a detector that can [`Explain`] from this crate (a `cdylib`).
#[macro_export]
macro_rules! export_explaining_detector {
    ($guest:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::seat::explains::<$guest>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::__detector_seat!($guest);
            impl $crate::bindings::explaining::exports::picket::guest::explain::Guest for Seat {
                fn explain(analytic: u32, turn: $crate::Turn) -> Vec<$crate::Node> {
                    GUEST.with(|g| g.with(|guest| $crate::Explain::explain(guest, analytic, &turn)))
                }
            }
            $crate::bindings::detector::seat_detector! { Seat with_types_in $crate::bindings::detector }
            $crate::bindings::explaining::seat_explain! { Seat with_types_in $crate::bindings::explaining }
        };
    };
}

/// Exports a detector with a [`Memory`] from this crate (a `cdylib`).
#[macro_export]
macro_rules! export_remembering_detector {
    ($guest:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::seat::remembers::<$guest>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::__detector_seat!($guest);
            impl $crate::bindings::remembering::exports::picket::guest::memory::Guest for Seat {
                fn parts() -> u32 {
                    GUEST.with(|g| g.with(|guest| $crate::Memory::parts(guest)))
                }
                fn snapshot(part: u32) -> Vec<u8> {
                    GUEST.with(|g| g.with(|guest| $crate::Memory::snapshot(guest, part)))
                }
                fn restore(parts: Vec<Vec<u8>>) -> Result<(), String> {
                    GUEST.with(|g| g.with(|guest| $crate::Memory::restore(guest, &parts)))
                }
            }
            $crate::bindings::detector::seat_detector! { Seat with_types_in $crate::bindings::detector }
            $crate::bindings::remembering::seat_memory! { Seat with_types_in $crate::bindings::remembering }
        };
    };
}

/// The exported functions of a detector, over the guest between calls.
#[doc(hidden)]
#[macro_export]
macro_rules! __detector_seat {
    ($guest:ty) => {
        struct Seat;
        type Guest = $crate::seat::Seated<$guest>;
        std::thread_local! {
            static GUEST: Guest = const { $crate::seat::Seated::empty() };
        }
        impl $crate::bindings::detector::exports::picket::guest::detector::Guest for Seat {
            fn init(setup: $crate::Setup) -> Result<$crate::Plan, Vec<$crate::Diagnostic>> {
                GUEST.with(|g| g.init(setup, <$guest as $crate::Detector>::init))
            }
            fn bind(bindings: Vec<$crate::Binding>) -> Vec<$crate::Diagnostic> {
                GUEST.with(|g| g.with(|guest| $crate::Detector::bind(guest, &bindings)))
            }
            fn on_events(turn: $crate::Turn) -> $crate::Outcome {
                GUEST.with(|g| g.with(|guest| $crate::Detector::on_events(guest, &turn)))
            }
        }
    };
}

/// Exports an [`Enricher`] from this crate (a `cdylib`).
#[macro_export]
macro_rules! export_enricher {
    ($guest:ty) => {
        // Names of component exports are none for a native linker: natively, only the trait is checked.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::seat::enriches::<$guest>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Seat;
            type Guest = $crate::seat::Seated<$guest>;
            std::thread_local! {
                static GUEST: Guest = const { $crate::seat::Seated::empty() };
            }
            impl $crate::bindings::enricher::exports::picket::guest::enricher::Guest for Seat {
                fn init(setup: $crate::Setup) -> Result<$crate::Plan, Vec<$crate::Diagnostic>> {
                    GUEST.with(|g| g.init(setup, <$guest as $crate::Enricher>::init))
                }
                fn bind(bindings: Vec<$crate::Binding>) -> Vec<$crate::Diagnostic> {
                    GUEST.with(|g| g.with(|guest| $crate::Enricher::bind(guest, &bindings)))
                }
                fn enrich(turn: $crate::Turn) -> Vec<Vec<$crate::Column>> {
                    GUEST.with(|g| g.with(|guest| $crate::Enricher::enrich(guest, &turn)))
                }
            }
            $crate::bindings::enricher::seat_enricher! { Seat with_types_in $crate::bindings::enricher }
        };
    };
}
