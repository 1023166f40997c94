//! Which names an address was resolved from, as the responses said that this host received.
//!
//! Fed and asked by the builder in host order: a connection sees the responses that came before it. The names hold for
//! the whole host, whichever process or container asked. They are evidence and no proof: who answers can say anything.

use std::collections::VecDeque;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::Response;
use crate::kind::{KINDS, Kind, SYSTEM};
use crate::slab::{Cell, Slab};

/// Addresses at most; the one that was longest not answered goes first.
const ADDRESSES: usize = 8192;

/// Names of one address at most, the newest stay.
const NAMES: usize = 8;

/// Bytes of a name at most. Only one that needs escapes is longer.
const NAME: usize = 255;

/// Programs keep addresses longer than they should.
const FLOOR: u64 = 5 * 60 * 1_000_000_000;
const CEILING: u64 = 24 * 3600 * 1_000_000_000;

/// What the memory of names holds, and what it did; counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    pub addresses: u64,
    /// Responses with an address.
    pub learned: u64,
    /// Connections that got a name.
    pub named: u64,
    /// Addresses and names dropped before their time because there was no room.
    pub evicted: u64,
}

#[derive(Debug)]
struct Known {
    /// Newest last, each with its end.
    names: Vec<(Box<str>, u64)>,
    /// When it was answered, as a place in the queue.
    turn: u64,
}

/// The field that is filled, the one that teaches, and those that hold the address.
const NAMED: &str = "remote_addr.dns_names";
const TEACHES: &str = "dns_response";
const ADDRESS: [&str; 2] = ["remote_addr.sin_addr", "remote_addr.sin6_addr"];

fn cell(kind: &Kind, path: &str) -> Option<u16> {
    kind.fields.iter().position(|f| f.path == path).and_then(|at| u16::try_from(at).ok())
}

/// Whether events of this kind get names.
pub fn is_named(kind: &Kind) -> bool {
    cell(kind, NAMED).is_some()
}

/// Whether names are learned from events of this kind.
pub fn teaches(kind: &Kind) -> bool {
    cell(kind, TEACHES).is_some()
}

/// What the memory does with the rows of a kind.
#[derive(Clone, Debug, Default)]
struct Role {
    /// The cell of the responses it learns from.
    responses: Option<u16>,
    /// The cell it fills with names.
    names: Option<u16>,
    /// The cells of the address to name.
    addresses: Vec<u16>,
}

/// The memory.
#[derive(Debug)]
pub struct Names {
    roles: Vec<Role>,
    known: FxHashMap<IpAddr, Known>,
    order: VecDeque<(u64, IpAddr)>,
    turns: u64,
    counters: Counters,
}

impl Default for Names {
    fn default() -> Names {
        let role = |kind: &&Kind| Role {
            responses: cell(kind, TEACHES),
            names: cell(kind, NAMED),
            addresses: ADDRESS.iter().filter_map(|path| cell(kind, path)).collect(),
        };
        Names {
            roles: KINDS.iter().map(role).collect(),
            known: FxHashMap::default(),
            order: VecDeque::new(),
            turns: 0,
            counters: Counters::default(),
        }
    }
}

impl Names {
    pub fn counters(&self) -> Counters {
        Counters { addresses: self.known.len() as u64, ..self.counters }
    }

    /// Looks at the newest row: learns from a response, names the peer of a connection.
    pub fn settle(&mut self, slab: &mut Slab) {
        let Some(row) = slab.rows.last() else { return };
        let Some(role) = self.roles.get(row.kind.0 as usize) else { return };
        let (from, time) = (row.cells as usize + SYSTEM.len(), row.time);
        let text = |slab: &Slab, cell: u16| match slab.cells[from + cell as usize] {
            Cell::Text(span) | Cell::Json(span) => Some(span.range()),
            _ => None,
        };
        if let Some(at) = role.responses.and_then(|cell| text(slab, cell)) {
            let responses: Vec<Response> = serde_json::from_slice(&slab.arena[at]).unwrap_or_default();
            for response in &responses {
                self.learn(response, time);
            }
            return;
        }
        let Some(names) = role.names else { return };
        let Some(at) = role.addresses.iter().find_map(|&cell| text(slab, cell)) else { return };
        let address = std::str::from_utf8(&slab.arena[at]).ok().and_then(|t| t.parse().ok());
        let Some(found) = address.and_then(|address: IpAddr| self.of(address, time)) else { return };
        let list = slab.list(found.iter().map(|name| name.as_bytes()));
        slab.cells[from + names as usize] = list;
        self.counters.named += 1;
    }

    /// Names of an address that hold at `time`, the newest first.
    fn of(&self, address: IpAddr, time: u64) -> Option<Vec<&str>> {
        let known = self.known.get(&address.to_canonical())?;
        let holding = known.names.iter().rev().filter(|(_, until)| *until > time);
        let names: Vec<&str> = holding.map(|(name, _)| &**name).collect();
        (!names.is_empty()).then_some(names)
    }

    /// The asked name and the aliases on the way hold for every address of the answer.
    fn learn(&mut self, response: &Response, time: u64) {
        let aliases = response.dns_answer.iter().filter(|a| a.answer_type == "CNAME").map(|a| &a.answer);
        // The asked name last: as the newest it comes first.
        let mut names: Vec<&String> = aliases.rev().chain([&response.query_data.query]).collect();
        names.retain(|name| name.len() <= NAME);
        let mut learned = false;
        for answer in &response.dns_answer {
            let Some(address) = answer.address() else { continue };
            learned = true;
            let ttl = u64::from(answer.ttl).saturating_mul(1_000_000_000).clamp(FLOOR, CEILING);
            self.add(address.to_canonical(), &names, time, time.saturating_add(ttl));
        }
        self.counters.learned += u64::from(learned);
    }

    fn add(&mut self, address: IpAddr, names: &[&String], time: u64, until: u64) {
        self.turns += 1;
        let turn = self.turns;
        let known = self.known.entry(address).or_insert_with(|| Known { names: Vec::new(), turn });
        known.turn = turn;
        for name in names {
            let name = name.to_ascii_lowercase().into_boxed_str();
            known.names.retain(|(n, end)| *n != name && *end > time);
            if known.names.len() >= NAMES {
                known.names.remove(0);
                self.counters.evicted += 1;
            }
            known.names.push((name, until));
        }
        self.order.push_back((turn, address));
        // The queue holds an entry for each answer; those answered again since are passed over.
        while self.known.len() > ADDRESSES || self.order.len() > 2 * ADDRESSES {
            let Some((turn, address)) = self.order.pop_front() else { break };
            if self.known.get(&address).is_some_and(|k| k.turn == turn)
                && let Some(gone) = self.known.remove(&address)
                && gone.names.iter().any(|(_, end)| *end > time)
            {
                self.counters.evicted += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Question};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn response(query: &str, answers: &[(&str, &str, u32)]) -> Response {
        let answer = |(ty, text, ttl): &(&str, &str, u32)| Answer {
            answer_type: (*ty).into(),
            ttl: *ttl,
            answer: (*text).into(),
        };
        Response {
            query_data: Question { query: query.into(), ..Question::default() },
            dns_answer: answers.iter().map(answer).collect(),
        }
    }

    fn of(names: &Names, address: &str, time: u64) -> Vec<String> {
        let found = names.of(address.parse().unwrap(), time).unwrap_or_default();
        found.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn an_address_has_the_asked_name_and_its_aliases() {
        let mut names = Names::default();
        let answers = [("CNAME", "edge.example.net", 9), ("A", "203.0.113.7", 600), ("AAAA", "2001:db8::7", 600)];
        names.learn(&response("Pool.Example.org", &answers), 0);
        assert_eq!(of(&names, "203.0.113.7", SECOND), ["pool.example.org", "edge.example.net"]);
        assert_eq!(of(&names, "::ffff:203.0.113.7", SECOND), ["pool.example.org", "edge.example.net"]);
        assert_eq!(of(&names, "2001:db8::7", SECOND), ["pool.example.org", "edge.example.net"]);
        assert!(of(&names, "203.0.113.8", SECOND).is_empty());
        names.learn(&response("other.example.org", &[("A", "203.0.113.7", 600)]), SECOND);
        names.learn(&response("pool.example.org", &[("A", "203.0.113.7", 600)]), SECOND);
        let all = ["pool.example.org", "other.example.org", "edge.example.net"];
        assert_eq!(of(&names, "203.0.113.7", SECOND), all);
        let counters = Counters { addresses: 2, learned: 3, ..Counters::default() };
        assert_eq!(names.counters(), counters);
    }

    #[test]
    fn a_name_holds_for_its_time_between_floor_and_ceiling() {
        let mut names = Names::default();
        for (ttl, holds) in [(0, FLOOR), (900, 900 * SECOND), (u32::MAX, CEILING)] {
            names.learn(&response("a.example", &[("A", "203.0.113.7", ttl)]), 0);
            assert_eq!(of(&names, "203.0.113.7", holds - 1).len(), 1, "{ttl}");
            assert!(of(&names, "203.0.113.7", holds).is_empty(), "{ttl}");
        }
    }

    #[test]
    fn what_must_go_is_counted() {
        let mut names = Names::default();
        let address = |n: usize| std::net::Ipv4Addr::from(0x0a00_0000 + n as u32).to_string();
        for n in 0..ADDRESSES + 10 {
            names.learn(&response("a.example", &[("A", &address(n), 600)]), 0);
        }
        assert_eq!((names.counters().addresses, names.counters().evicted), (ADDRESSES as u64, 10));
        assert!(of(&names, &address(9), 0).is_empty());
        // The same answer again and again takes no room.
        for _ in 0..3 * ADDRESSES {
            names.learn(&response("a.example", &[("A", &address(10), 600)]), 0);
        }
        assert!(names.order.len() <= 2 * ADDRESSES);
        assert_eq!(of(&names, &address(10), 0).len(), 1);
        let before = names.counters().evicted;
        for n in 0..NAMES + 3 {
            names.learn(&response(&format!("{n}.example"), &[("A", "203.0.113.9", 600)]), 0);
        }
        assert_eq!(of(&names, "203.0.113.9", 0).len(), NAMES);
        assert!(names.counters().evicted >= before + 3);
        names.learn(&response(&"x".repeat(NAME + 1), &[("A", "203.0.113.10", 600)]), 0);
        assert!(of(&names, "203.0.113.10", 0).is_empty());
    }
}
