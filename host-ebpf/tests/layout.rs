//! The Rust structures against the C ones, as clang described them in the object's own BTF.

use std::collections::HashMap;

use picket_ebpf::kind::commit_creds::Creds;
use picket_ebpf::{
    Binary, Config, Filters, Header, Interest, Kind, KindCounters, Layout, OBJECT, PathClasses, PathState, PathWish,
    RawSlice, TaskFacts, Throttled,
};

/// A field in order: name, offset and size in bytes.
type Field = (String, usize, usize);

struct Btf {
    /// By name: size of the structure and its fields.
    structs: HashMap<String, (usize, Vec<Field>)>,
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("two bytes")))
}
fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}
fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize
}
fn string_at(bytes: &[u8], at: usize) -> String {
    let end = bytes[at..].iter().position(|&b| b == 0).expect("a NUL");
    String::from_utf8_lossy(&bytes[at..at + end]).into_owned()
}

/// A section of a 64-bit ELF file.
fn section<'a>(elf: &'a [u8], wanted: &str) -> &'a [u8] {
    let (table, size, count, names) = (u64_at(elf, 0x28), u16_at(elf, 0x3a), u16_at(elf, 0x3c), u16_at(elf, 0x3e));
    let header = |n: usize| &elf[table + n * size..table + (n + 1) * size];
    let content = |n: usize| {
        let (offset, length) = (u64_at(header(n), 0x18), u64_at(header(n), 0x20));
        &elf[offset..offset + length]
    };
    (0..count).find(|&n| string_at(content(names), u32_at(header(n), 0)) == wanted).map(content).expect("the section")
}

impl Btf {
    fn parse(btf: &[u8]) -> Btf {
        let header = u32_at(btf, 4);
        let (types, types_length) = (header + u32_at(btf, 8), u32_at(btf, 12));
        let strings = &btf[header + u32_at(btf, 16)..];
        // id -> (kind, name, size or type, start of what follows, vlen)
        let mut table = vec![(0, String::new(), 0, 0, 0)];
        let mut at = types;
        while at < types + types_length {
            let (name, info, third) = (string_at(strings, u32_at(btf, at)), u32_at(btf, at + 4), u32_at(btf, at + 8));
            let (kind, vlen) = (info >> 24 & 0x1f, info & 0xffff);
            table.push((kind, name, third, at + 12, vlen));
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,             // int, var, decl tag
                    3 => 12,                      // array
                    4 | 5 | 15 | 19 => 12 * vlen, // struct, union, datasec, enum64
                    6 | 13 => 8 * vlen,           // enum, function prototype
                    _ => 0,
                };
        }
        let mut structs = HashMap::new();
        for (kind, name, size, members, vlen) in &table {
            if *kind != 4 || name.is_empty() {
                continue;
            }
            let fields = (0..*vlen).map(|n| {
                let member = members + 12 * n;
                let bits = u32_at(btf, member + 8) & 0xff_ffff;
                (string_at(strings, u32_at(btf, member)), bits / 8, size_of_type(btf, &table, u32_at(btf, member + 4)))
            });
            structs.insert(name.clone(), (*size, fields.collect()));
        }
        Btf { structs }
    }
}

fn size_of_type(btf: &[u8], table: &[(usize, String, usize, usize, usize)], id: usize) -> usize {
    let (kind, _, third, rest, _) = &table[id];
    match kind {
        1 | 4 | 5 | 6 | 16 | 19 => *third,                                         // sized
        2 => 8,                                                                    // pointer
        3 => size_of_type(btf, table, u32_at(btf, *rest)) * u32_at(btf, rest + 8), // array
        8..=11 | 18 => size_of_type(btf, table, *third),                           // typedef and qualifiers
        other => panic!("a BTF kind that no record has: {other}"),
    }
}

fn compare(btf: &Btf, name: &str, size: usize, fields: &[(&str, usize, usize)]) {
    let (c_size, c_fields) = btf.structs.get(name).unwrap_or_else(|| panic!("struct {name} is in the object"));
    let rust: Vec<Field> = fields.iter().map(|&(name, offset, size)| (name.to_owned(), offset, size)).collect();
    assert_eq!(c_fields, &rust, "fields of {name}");
    assert_eq!(*c_size, size, "size of {name}");
}

fn compare_layout<T: Layout>(btf: &Btf) {
    compare(btf, T::NAME, size_of::<T>(), T::FIELDS);
}

#[test]
fn every_structure_equals_the_one_in_the_object() {
    let btf = Btf::parse(section(OBJECT, ".BTF"));
    compare_layout::<Header>(&btf);
    compare_layout::<RawSlice>(&btf);
    compare_layout::<TaskFacts>(&btf);
    compare_layout::<KindCounters>(&btf);
    compare_layout::<Interest>(&btf);
    compare_layout::<Config>(&btf);
    compare_layout::<Creds>(&btf);
    compare_layout::<Filters>(&btf);
    compare_layout::<Binary>(&btf);
    compare_layout::<Throttled>(&btf);
    compare_layout::<PathState>(&btf);
    compare_layout::<PathClasses>(&btf);
    compare_layout::<PathWish>(&btf);
    for kind in Kind::ALL {
        compare(&btf, kind.body_name(), kind.body_size(), kind.body_fields());
    }
}

#[test]
fn the_object_names_no_path_of_the_building_machine() {
    let root = env!("CARGO_MANIFEST_DIR").as_bytes();
    assert!(!OBJECT.windows(root.len()).any(|window| window == root));
}
