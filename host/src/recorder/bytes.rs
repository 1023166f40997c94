//! Numbers and texts as they stand in a recording: numbers in as few bytes as they need (LEB128), each distinct text once.

use std::hash::Hasher as _;
use std::sync::Arc;

use hashbrown::HashTable;

/// What is read is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Bytes being written.
#[derive(Debug, Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A number that may not be known.
    pub fn maybe(&mut self, value: Option<u64>) {
        match value {
            Some(value) => {
                self.byte(1);
                self.number(value);
            }
            None => self.byte(0),
        }
    }
}

/// Bytes being read. Every answer is within them.
#[derive(Clone, Copy, Debug)]
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for (i, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    pub fn signed(&mut self) -> Result<i64, Damaged> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of things of which each takes at least one byte: nothing is reserved for what cannot be there.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.number()?;
        if count > self.0.len() as u64 { Err(Damaged) } else { Ok(count as usize) }
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        self.take(length)
    }

    pub fn maybe(&mut self) -> Result<Option<u64>, Damaged> {
        Ok(if self.byte()? == 1 { Some(self.number()?) } else { None })
    }
}

/// Distinct texts, numbered from 0 in the order in which they came.
#[derive(Debug, Default)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    known: HashTable<u32>,
}

impl Texts {
    /// The number of a text, the same for the same text.
    pub fn number(&mut self, text: &[u8]) -> u64 {
        let Texts { bytes, ends, known } = self;
        let at = |i: u32| {
            let from = (i as usize).checked_sub(1).map_or(0, |before| ends[before] as usize);
            &bytes[from..ends[i as usize] as usize]
        };
        if let Some(found) = known.find(hash(text), |i| at(*i) == text) {
            return u64::from(*found);
        }
        let new = ends.len() as u32;
        known.insert_unique(hash(text), new, |i| hash(at(*i)));
        bytes.extend_from_slice(text);
        ends.push(bytes.len() as u32);
        u64::from(new)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn write(&self, out: &mut Out) {
        out.number(self.ends.len() as u64);
        let mut before = 0;
        for end in &self.ends {
            out.number(u64::from(end - before));
            before = *end;
        }
        out.0.extend_from_slice(&self.bytes);
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.write(text);
    hasher.finish()
}

/// Texts as they were read.
#[derive(Debug, Default)]
pub struct ReadTexts {
    bytes: Vec<u8>,
    /// Where each begins, and where the last one ends.
    ends: Vec<u32>,
    /// The texts that processes share.
    shared: Vec<Option<Arc<[u8]>>>,
}

impl ReadTexts {
    pub fn read(input: &mut In<'_>) -> Result<ReadTexts, Damaged> {
        let count = input.count()?;
        let mut ends = Vec::with_capacity(count + 1);
        let mut at = 0u32;
        ends.push(0);
        for _ in 0..count {
            let length = u32::try_from(input.number()?).map_err(|_| Damaged)?;
            at = at.checked_add(length).ok_or(Damaged)?;
            ends.push(at);
        }
        Ok(ReadTexts { bytes: input.take(at as usize)?.to_vec(), ends, shared: Vec::new() })
    }

    pub fn len(&self) -> usize {
        self.ends.len().saturating_sub(1)
    }

    pub fn get(&self, number: u64) -> Result<&[u8], Damaged> {
        let number = usize::try_from(number).map_err(|_| Damaged)?;
        let (from, to) = (self.ends.get(number).ok_or(Damaged)?, self.ends.get(number + 1).ok_or(Damaged)?);
        Ok(&self.bytes[*from as usize..*to as usize])
    }

    /// The text with this number, one allocation however often it is asked for.
    pub fn shared(&mut self, number: u64) -> Result<Arc<[u8]>, Damaged> {
        self.shared.resize(self.len(), None);
        let text = self.get(number)?;
        if let Some(Some(known)) = self.shared.get(number as usize) {
            return Ok(known.clone());
        }
        let new = Arc::<[u8]>::from(text);
        self.shared[number as usize] = Some(new.clone());
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut out = Out::default();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX, -300];
        for n in numbers {
            out.number(n);
        }
        for n in signed {
            out.signed(n);
        }
        let mut input = In(&out.0);
        assert_eq!(numbers.map(|_| input.number().unwrap()), numbers);
        assert_eq!(signed.map(|_| input.signed().unwrap()), signed);
        assert_eq!(input.number(), Err(Damaged));
    }

    #[test]
    fn each_text_is_there_once() {
        let mut texts = Texts::default();
        let numbers: Vec<u64> = [&b"a"[..], b"", b"bc", b"a", b"", b"\xff"].iter().map(|t| texts.number(t)).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 3]);
        let mut out = Out::default();
        texts.write(&mut out);
        let mut read = ReadTexts::read(&mut In(&out.0)).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!((read.get(2), read.get(3), read.get(4)), (Ok(&b"bc"[..]), Ok(&b"\xff"[..]), Err(Damaged)));
        assert!(Arc::ptr_eq(&read.shared(0).unwrap(), &read.shared(0).unwrap()));
    }

    #[test]
    fn what_cannot_be_there_reserves_nothing() {
        for bytes in [&[0xff, 0xff, 0xff, 0x7f][..], &[2, 200, 1, 1, b'x'], &[0xff; 12], &[]] {
            assert!(ReadTexts::read(&mut In(bytes)).is_err(), "{bytes:?}");
        }
    }
}
