//! DNS messages (RFC 1035) from packets that anybody may have sent: every read is checked, a name ends after 255 bytes
//! of it, a compression pointer only leads backwards, and the text made of one message is bounded. What does not
//! parse to its end is given up to there and marked.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Text made of one message at most. A name can be pointed to from everywhere, so a packet could ask for a hundred
/// times its size.
const MOST_TEXT: usize = 16 << 10;

/// Wire bytes of a name at most (RFC 1035, 3.1).
const MOST_NAME: usize = 255;

/// What is asked, in the encoding of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub query: String,
    pub query_type: String,
    pub query_class: String,
}

/// A record of the answer section, likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub answer_type: String,
    pub ttl: u32,
    pub answer: String,
}

/// One question with everything that was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub query_data: Question,
    pub dns_answer: Vec<Answer>,
}

impl Answer {
    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        matches!(self.answer_type.as_str(), "A" | "AAAA").then(|| self.answer.parse().ok()).flatten()
    }
}

/// A message as far as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Response code: 0 success, 3 no such name.
    pub code: u8,
    pub questions: Vec<Question>,
    pub answers: Vec<Answer>,
    /// Part of it is missing: cut on the way, not well formed, or too much text.
    pub incomplete: bool,
}

/// Reads a message; `None` when not even its header is there.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let mut r = Reader { bytes, at: 0, text: 0 };
    let [_id, flags, questions, answers, _authorities, _additional] = [(); 6].map(|()| r.u16());
    let flags = flags?;
    let (questions, answers) = (questions?, answers?);
    let mut message = Message { code: (flags & 15) as u8, incomplete: flags & 0x0200 != 0, ..Message::default() };
    for _ in 0..questions {
        let Some(question) = r.question() else {
            message.incomplete = true;
            return Some(message);
        };
        message.questions.push(question);
    }
    for _ in 0..answers {
        let Some(answer) = r.answer() else {
            message.incomplete = true;
            break;
        };
        message.answers.push(answer);
    }
    Some(message)
}

/// Reads forwards; every step is `None` past the end.
struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
    /// Text made so far.
    text: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(part)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(<[u8]>::first_chunk).map(|b| u16::from_be_bytes(*b))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(<[u8]>::first_chunk).map(|b| u32::from_be_bytes(*b))
    }

    fn question(&mut self) -> Option<Question> {
        let query = self.name()?;
        let (ty, class) = (self.u16()?, self.u16()?);
        Some(Question { query, query_type: type_name(ty), query_class: class_name(class) })
    }

    fn answer(&mut self) -> Option<Answer> {
        self.name()?;
        let (ty, _class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        let answer = self.data(ty, end)?;
        self.at = end;
        self.count(answer.len())?;
        Some(Answer { answer_type: type_name(ty), ttl, answer })
    }

    /// Counts text; `None` when it gets too much.
    fn count(&mut self, bytes: usize) -> Option<()> {
        self.text += bytes;
        (self.text <= MOST_TEXT).then_some(())
    }

    /// What a record says, as zone files write it.
    fn data(&mut self, ty: u16, end: usize) -> Option<String> {
        let data = self.bytes.get(self.at..end)?;
        Some(match ty {
            1 => Ipv4Addr::from(*<&[u8; 4]>::try_from(data).ok()?).to_string(),
            28 => Ipv6Addr::from(*<&[u8; 16]>::try_from(data).ok()?).to_string(),
            2 | 5 | 12 | 39 => self.name()?,
            6 => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let mut text = format!("{server} {mailbox}");
                for _ in 0..5 {
                    let _ = write!(text, " {}", self.u32()?);
                }
                text
            }
            15 => format!("{} {}", self.u16()?, self.name()?),
            16 => text_of(data)?,
            33 => format!("{} {} {} {}", self.u16()?, self.u16()?, self.u16()?, self.name()?),
            // Of types without a text form of their own (RFC 3597).
            _ => {
                let mut text = format!("\\# {}", data.len());
                for (i, byte) in data.iter().enumerate() {
                    let _ = write!(text, "{}{byte:02x}", if i == 0 { " " } else { "" });
                }
                text
            }
        })
    }

    /// A name in presentation form, without the dot at its end; the root is `.`.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut wire) = (String::new(), 1);
        // Where to go on after the first pointer, and what pointers must stay before.
        let (mut resume, mut before, mut at) = (None, self.at, self.at);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => break,
                1..=63 => {
                    wire += length + 1;
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    if wire > MOST_NAME {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    for &byte in label {
                        escape(&mut name, byte, b".\\");
                    }
                    at += 1 + length;
                }
                192.. => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    resume.get_or_insert(at + 2);
                    at = (length & 63) << 8 | low;
                    // Each one leads further back than the one before: it ends.
                    if at >= before {
                        return None;
                    }
                    before = at;
                }
                _ => return None,
            }
        }
        self.at = resume.unwrap_or(at + 1);
        if name.is_empty() {
            name.push('.');
        }
        self.count(name.len())?;
        Some(name)
    }
}

/// Appends a byte as zone files write it: what is not printable as `\ddd`.
fn escape(out: &mut String, byte: u8, special: &[u8]) {
    match byte {
        b if special.contains(&b) => {
            out.push('\\');
            out.push(char::from(b));
        }
        b' '..=b'~' => out.push(char::from(byte)),
        _ => {
            let _ = write!(out, "\\{byte:03}");
        }
    }
}

/// The strings of a TXT record as one: tools cut their text at 255 bytes, not where it means something.
fn text_of(mut data: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((&length, rest)) = data.split_first() {
        let (part, after) = rest.split_at_checked(usize::from(length))?;
        for &byte in part {
            escape(&mut text, byte, b"\\");
        }
        data = after;
    }
    Some(text)
}

fn type_name(ty: u16) -> String {
    let known = match ty {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        25 => "KEY",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        other => return format!("TYPE{other}"),
    };
    known.to_owned()
}

fn class_name(class: u16) -> String {
    let known = match class {
        1 => "IN",
        3 => "CH",
        4 => "HS",
        255 => "ANY",
        other => return format!("CLASS{other}"),
    };
    known.to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message about `name` with these answers: (owner, type, data).
    pub(in crate::dns) fn message(name: &[u8], ty: u16, answers: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut m = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
        m.extend(name);
        m.extend(ty.to_be_bytes());
        m.extend([0, 1]);
        for (owner, ty, data) in answers {
            m.extend(*owner);
            m.extend(ty.to_be_bytes());
            m.extend([0, 1, 0, 0, 1, 44]);
            m.extend((data.len() as u16).to_be_bytes());
            m.extend(*data);
        }
        m
    }

    const POOL: &[u8] = b"\x04pool\x07example\x03org\0";
    const AT_QUESTION: &[u8] = &[0xc0, 12];

    fn answers(bytes: &[u8]) -> Vec<(String, String)> {
        parse(bytes).unwrap().answers.into_iter().map(|a| (a.answer_type, a.answer)).collect()
    }

    #[test]
    fn records_read_as_zone_files_write_them() {
        let m = message(
            POOL,
            1,
            &[
                (AT_QUESTION, 5, b"\x01x\xc0\x11"),
                (AT_QUESTION, 1, &[203, 0, 113, 7]),
                (AT_QUESTION, 28, &Ipv6Addr::LOCALHOST.octets()),
                (AT_QUESTION, 15, b"\0\x0a\x04mail\0"),
                (AT_QUESTION, 16, b"\x03a\\b\x02\x01c"),
                (AT_QUESTION, 33, b"\0\x01\0\x02\0\x35\0"),
                (AT_QUESTION, 6, b"\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05"),
                (AT_QUESTION, 4711, b"\x01\xff"),
            ],
        );
        let parsed = parse(&m).unwrap();
        let question = Question { query: "pool.example.org".into(), query_type: "A".into(), query_class: "IN".into() };
        assert_eq!((parsed.questions, parsed.code, parsed.incomplete), (vec![question], 0, false));
        assert_eq!(parsed.answers[1].ttl, 300);
        let expected = [
            ("CNAME", "x.example.org"),
            ("A", "203.0.113.7"),
            ("AAAA", "::1"),
            ("MX", "10 mail"),
            ("TXT", "a\\\\b\\001c"),
            ("SRV", "1 2 53 ."),
            ("SOA", ". . 1 2 3 4 5"),
            ("TYPE4711", "\\# 2 01ff"),
        ];
        assert_eq!(answers(&m), expected.map(|(t, a)| (t.to_owned(), a.to_owned())));
        assert_eq!(parsed.answers.iter().filter_map(Answer::address).count(), 2);
    }

    #[test]
    fn bytes_of_names_are_escaped() {
        let m = message(b"\x05a.b\\\xff\x03\x1b[m\0", 1, &[]);
        assert_eq!(parse(&m).unwrap().questions[0].query, "a\\.b\\\\\\255.\\027[m");
        assert_eq!(parse(&message(b"\0", 2, &[])).unwrap().questions[0].query, ".");
    }

    #[test]
    fn pointers_that_do_not_lead_back_end_the_reading() {
        for name in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\xff", b"\x80", b"\xc0"] {
            let parsed = parse(&message(name, 1, &[])).unwrap();
            assert!(parsed.questions.is_empty() && parsed.incomplete, "{name:?}");
        }
        // A chain of pointers, each to the one before.
        let mut chain = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        for at in (12..600).step_by(2) {
            let to = if at == 12 { 12 } else { at - 1 };
            chain.extend([0xc0 | (to >> 8) as u8, to as u8]);
        }
        assert!(parse(&chain).is_some());
    }

    #[test]
    fn a_name_ends_at_255_bytes() {
        let label = [&[63][..], &[b'a'; 63]].concat();
        let long = [label.repeat(3), [&[61][..], &[b'b'; 61]].concat(), vec![0]].concat();
        assert_eq!(long.len(), 255);
        assert_eq!(parse(&message(&long, 1, &[])).unwrap().questions.len(), 1);
        let longer = [label.repeat(3), [&[62][..], &[b'b'; 62]].concat(), vec![0]].concat();
        assert!(parse(&message(&longer, 1, &[])).unwrap().questions.is_empty());
    }

    #[test]
    fn text_of_one_message_is_bounded() {
        let label = [&[63][..], &[1; 63]].concat();
        let name = [label.repeat(3), vec![0]].concat();
        let many: Vec<(&[u8], u16, &[u8])> = vec![(AT_QUESTION, 5, AT_QUESTION); 90];
        let parsed = parse(&message(&name, 1, &many)).unwrap();
        let text: usize = parsed.answers.iter().map(|a| a.answer.len()).sum();
        assert!(parsed.incomplete && !parsed.answers.is_empty() && text <= MOST_TEXT, "{text}");
    }

    /// Every prefix, and every message with a few bytes changed, ends and says nothing that it may not say.
    #[test]
    fn damaged_messages_are_read_up_to_the_damage() {
        let whole = message(
            POOL,
            1,
            &[(AT_QUESTION, 5, b"\x01x\xc0\x11"), (AT_QUESTION, 16, b"\x03abc"), (AT_QUESTION, 1, &[203, 0, 113, 7])],
        );
        for end in 0..whole.len() {
            match parse(&whole[..end]) {
                None => assert!(end < 12),
                Some(m) => assert!(m.incomplete && m.answers.len() < 3, "{end}"),
            }
        }
        // xorshift: the same changes in each run
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..200_000 {
            let mut damaged = whole.clone();
            for _ in 0..=next() % 6 {
                let at = next() % damaged.len();
                damaged[at] = match next() % 4 {
                    0 => 0xc0,
                    1 => 0xff,
                    _ => next() as u8,
                };
            }
            let parsed = parse(&damaged).expect("the header is there");
            let texts = parsed.answers.iter().map(|a| &a.answer).chain(parsed.questions.iter().map(|q| &q.query));
            let mut sum = 0;
            for text in texts {
                assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text:?}");
                sum += text.len();
            }
            assert!(sum <= MOST_TEXT);
        }
    }
}
