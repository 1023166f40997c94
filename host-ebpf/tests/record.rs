//! Records made by hand: every slice status, and everything that is not a record.

use picket_ebpf::{
    Flags, Header, Hook, Kind, Malformed, RawSlice, Record, SliceFlags, Status, VERSION,
    kind::{sched_process_exit::Exit, security_file_open::Open},
};

/// Slices as (bytes, original length, status, flags).
type Part<'a> = (&'a [u8], u32, u8, u8);

/// A record of `kind` whose body is all `fill`.
fn record(kind: Kind, fill: u8, parts: &[Part<'_>]) -> Vec<u8> {
    let table = size_of::<Header>() + kind.body_size();
    let mut tail = table + parts.len() * size_of::<RawSlice>();
    let mut bytes = vec![0; size_of::<Header>()];
    bytes.resize(table, fill);
    for (part, original, status, flags) in parts {
        bytes.extend_from_slice(&(tail as u16).to_ne_bytes());
        bytes.extend_from_slice(&(part.len() as u16).to_ne_bytes());
        bytes.extend_from_slice(&original.to_ne_bytes());
        bytes.extend_from_slice(&[*status, *flags, 0, 0]);
        tail += part.len();
    }
    for (part, ..) in parts {
        bytes.extend_from_slice(part);
    }
    let length = bytes.len() as u32;
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.id().to_ne_bytes());
    bytes[6] = VERSION;
    bytes[7] = Hook::SysExit as u8;
    bytes[8..10].copy_from_slice(&Flags::TRUNCATED.to_ne_bytes());
    bytes[10..12].copy_from_slice(&(table as u16).to_ne_bytes());
    bytes[12..14].copy_from_slice(&(parts.len() as u16).to_ne_bytes());
    bytes
}

#[test]
fn every_status_comes_through() {
    let bytes = record(
        Kind::SecurityFileOpen,
        1,
        &[
            (b"/whole", 6, 1, 0),
            (b"cut/off", u32::MAX, 2, SliceFlags::DELETED),
            (b"half", 9, 3, SliceFlags::USER_MEMORY),
            (b"", 9, 3, 0),
            (b"", 0, 0, 0),
            (b"", 0, 1, 0),
        ],
    );
    let record = Record::parse(&bytes).expect("a record");
    assert_eq!((record.kind(), record.hook()), (Kind::SecurityFileOpen, Some(Hook::SysExit)));
    assert!(record.flags().has(Flags::TRUNCATED) && !record.flags().has(Flags::COMPAT));
    let states: Vec<_> =
        (0..7).map(|n| (record.slice(n).status, record.slice(n).present(), record.slice(n).original)).collect();
    let expected: [(Status, Option<&[u8]>, u32); 7] = [
        (Status::Ok, Some(b"/whole"), 6),
        (Status::Truncated, Some(b"cut/off"), u32::MAX),
        (Status::Fault, Some(b"half"), 9),
        (Status::Fault, None, 9),
        (Status::Absent, None, 0),
        (Status::Ok, Some(b""), 0),
        (Status::Absent, None, 0), // beyond the table
    ];
    assert_eq!(states, expected);
    assert!(record.slice(1).flags.has(SliceFlags::DELETED));
    assert_eq!(record.body::<Open>().map(|open| (open.created, open.inode)), Some((1, 0x0101_0101_0101_0101)));
    assert!(record.body::<Exit>().is_none(), "a body of another kind");
}

#[test]
fn alignment_and_trailing_bytes_do_not_matter() {
    let mut bytes = vec![0xff];
    bytes.extend(record(Kind::SecurityFileOpen, 2, &[(b"/x", 2, 1, 0)]));
    bytes.extend([0xff; 5]);
    let record = Record::parse(&bytes[1..]).expect("a record");
    assert_eq!(record.slice(0).bytes, b"/x");
    assert_eq!(record.bytes().len(), bytes.len() - 6);
}

#[test]
fn what_is_no_record_is_told_and_never_read() {
    let good = record(Kind::SecurityFileOpen, 0, &[(b"/x", 2, 1, 0)]);
    for length in 0..good.len() {
        assert_eq!(Record::parse(&good[..length]).err(), Some(Malformed::Short));
    }
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        Record::parse(&bytes).err()
    };
    let slice = size_of::<Header>() + size_of::<Open>();
    assert_eq!(with(0, &8u32.to_ne_bytes()), Some(Malformed::Short));
    assert_eq!(with(4, &999u16.to_ne_bytes()), Some(Malformed::Kind(999)));
    assert_eq!(with(6, &[VERSION + 1]), Some(Malformed::Version(VERSION + 1)));
    assert_eq!(with(10, &0u16.to_ne_bytes()), Some(Malformed::Body));
    assert_eq!(with(12, &u16::MAX.to_ne_bytes()), Some(Malformed::Slice(1)));
    assert_eq!(with(slice, &u16::MAX.to_ne_bytes()), Some(Malformed::Slice(0)));
    assert_eq!(with(slice + 2, &u16::MAX.to_ne_bytes()), Some(Malformed::Slice(0)));
    assert_eq!(with(slice + 8, &[4]), Some(Malformed::Slice(0)));
}

/// Any bytes at any place: parsing decides, and what it accepts can be read to the end.
#[test]
fn noise_never_panics() {
    let good = record(Kind::SchedProcessExec, 7, &[(b"/bin/true", 9, 1, 0), (b"true\0", 5, 1, 0)]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        if let Ok(record) = Record::parse(&bytes) {
            for n in 0..usize::from(record.header().slice_count) {
                assert!(record.slice(n).bytes.len() <= record.bytes().len());
            }
        }
    }
}
