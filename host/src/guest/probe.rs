//! Reads the names a component imports and exports, before anything is compiled: a wrong file is named in milliseconds.

use std::path::Path;

use wasmparser::{Encoding, Parser, Payload};

use super::context::printable;
use super::{GuestError, World};

/// The interface version this host speaks: the version of `wit/`.
pub const SPEAKS: &str = "0.1.0";

const PACKAGE: &str = "picket:guest/";

/// Bytes of a name that an error shows.
const MAX_NAME: usize = 256;

/// Interfaces a guest may import.
const OFFERED: [&str; 4] = ["types", "host", "lookup", "state"];

/// Interfaces that decide what a guest is.
const WORLDS: [(&str, World); 3] =
    [("detector", World::Detector), ("enricher", World::Enricher), ("formatter", World::Formatter)];

/// Optional exports that this host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub world: World,
    pub explains: bool,
    pub remembers: bool,
}

/// Names what the bytes are. The component is validated later, by the compiler.
pub fn probe(path: &Path, bytes: &[u8]) -> Result<Probed, GuestError> {
    let (imports, exports) = names(path, bytes)?;
    for import in &imports {
        check_import(path, import)?;
    }
    let mut found: Option<(&'static str, World)> = None;
    let (mut explains, mut remembers) = (false, false);
    for export in &exports {
        let Some((interface, version)) = ours(export) else { continue };
        let world = WORLDS.iter().find(|(name, _)| *name == interface);
        if world.is_none() && !["explain", "memory"].contains(&interface) {
            continue;
        }
        check_version(path, version)?;
        match (world, found) {
            (None, _) if interface == "memory" => remembers = true,
            (None, _) => explains = true,
            (Some(&world), None) => found = Some(world),
            (Some(&(second, _)), Some((first, _))) => {
                return Err(GuestError::ManyWorlds { path: path.into(), first, second });
            }
        }
    }
    if let Some((_, world)) = found {
        return Ok(Probed { world, explains, remembers });
    }
    let listed: Vec<String> = exports.into_iter().take(8).collect();
    let exports = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    Err(GuestError::NoWorld { path: path.into(), exports })
}

/// Top-level import and export names.
fn names(path: &Path, bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), GuestError> {
    let not = |reason: String| GuestError::NotAComponent { path: path.into(), reason };
    if !bytes.starts_with(b"\0asm") {
        return Err(not(match bytes {
            [] => "the file is empty".to_owned(),
            _ if bytes.trim_ascii_start().starts_with(b"(") => "it is text; only the binary format is read".to_owned(),
            _ => "it does not begin with the WebAssembly magic number".to_owned(),
        }));
    }
    // Names go into errors, and may be anything.
    let read = |name: &str| printable(name, MAX_NAME);
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Nested modules and components have sections of their own; only the outermost names count.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| not(e.to_string()))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                let advice = "it is a core module; encode it as a component (`cargo xtask build`, or `wasm-tools component new`)";
                return Err(not(advice.to_owned()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(read(import.map_err(|e| not(e.to_string()))?.name.name));
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(read(export.map_err(|e| not(e.to_string()))?.name.name));
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Splits `picket:guest/host@0.1.0`.
fn ours(name: &str) -> Option<(&str, &str)> {
    Some(name.strip_prefix(PACKAGE)?.split_once('@').unwrap_or((name.strip_prefix(PACKAGE)?, "")))
}

fn check_import(path: &Path, import: &str) -> Result<(), GuestError> {
    if import.starts_with("wasi:") || import.starts_with("wasi_") {
        return Err(GuestError::Wasi { path: path.into(), import: import.to_owned() });
    }
    let unknown = || GuestError::UnknownImport { path: path.into(), import: import.to_owned() };
    let (interface, version) = ours(import).ok_or_else(unknown)?;
    check_version(path, version)?;
    if OFFERED.contains(&interface) { Ok(()) } else { Err(unknown()) }
}

fn check_version(path: &Path, version: &str) -> Result<(), GuestError> {
    if version == SPEAKS {
        return Ok(());
    }
    let wanted = if version.is_empty() {
        "picket:guest without a version".to_owned()
    } else {
        format!("picket:guest@{version}")
    };
    Err(GuestError::Version { path: path.into(), wanted, speaks: SPEAKS })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn leb(mut n: usize, out: &mut Vec<u8>) {
        loop {
            let byte = (n & 0x7f) as u8;
            n >>= 7;
            out.push(if n == 0 { byte } else { byte | 0x80 });
            if n == 0 {
                break;
            }
        }
    }

    fn section(id: u8, body: &[u8], out: &mut Vec<u8>) {
        out.push(id);
        leb(body.len(), out);
        out.extend_from_slice(body);
    }

    /// A component with these names: every import and export is an instance of the empty instance type.
    pub fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        section(7, &[1, 0x42, 0], &mut bytes);
        let named = |name: &str, body: &mut Vec<u8>| {
            body.push(0);
            leb(name.len(), body);
            body.extend_from_slice(name.as_bytes());
        };
        for name in imports {
            let mut body = vec![1];
            named(name, &mut body);
            body.extend_from_slice(&[5, 0]);
            section(10, &body, &mut bytes);
        }
        for name in exports {
            let mut body = vec![1];
            named(name, &mut body);
            body.extend_from_slice(&[5, 0, 0]);
            section(11, &body, &mut bytes);
        }
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        probe(Path::new("x.wasm"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn the_worlds_are_told_apart() {
        for (name, world) in WORLDS {
            let export = format!("picket:guest/{name}@0.1.0");
            let probed = probe(Path::new("x.wasm"), &component(&["picket:guest/types@0.1.0"], &[&export])).unwrap();
            assert_eq!(probed, Probed { world, explains: false, remembers: false });
        }
        for (optional, explains) in [("explain", true), ("memory", false)] {
            let both = component(&[], &["picket:guest/detector@0.1.0", &format!("picket:guest/{optional}@0.1.0")]);
            let wanted = Probed { world: World::Detector, explains, remembers: !explains };
            assert_eq!(probe(Path::new("x.wasm"), &both).unwrap(), wanted);
        }
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert!(refusal(b"").contains("the file is empty"));
        assert!(refusal(b"#!/bin/sh").contains("magic number"));
        assert!(refusal(b"\n(component)").contains("it is text"));
        assert!(refusal(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(refusal(b"\0asm\x0d\0\x01\0\x0b\xff").contains("not a WebAssembly component"));
    }

    #[test]
    fn foreign_names_are_refused_with_the_way_out() {
        let wasi = refusal(&component(&["wasi:cli/stdout@0.2.6"], &["picket:guest/detector@0.1.0"]));
        assert!(wasi.contains("wasi:cli/stdout@0.2.6") && wasi.contains("--stub-wasi"), "{wasi}");
        let other = refusal(&component(&["acme:net/socket@1.0.0"], &["picket:guest/detector@0.1.0"]));
        assert!(other.contains("imports acme:net/socket@1.0.0"), "{other}");
        let newer = refusal(&component(&["picket:guest/types@0.4.0"], &["picket:guest/detector@0.4.0"]));
        assert!(newer.contains("guest wants picket:guest@0.4.0, this host speaks picket:guest@0.1.0"), "{newer}");
        let extra = refusal(&component(&["picket:guest/socket@0.1.0"], &["picket:guest/detector@0.1.0"]));
        assert!(extra.contains("imports picket:guest/socket@0.1.0"), "{extra}");
        let escape = refusal(&component(&["a:b/\u{1b}[31m"], &[]));
        assert!(escape.contains("imports a:b/\\u{1b}[31m"), "{escape}");
        let command = refusal(&component(&[], &["wasi:cli/run@0.2.6"]));
        assert!(command.contains("exports: wasi:cli/run@0.2.6"), "{command}");
        let two = refusal(&component(&[], &["picket:guest/detector@0.1.0", "picket:guest/enricher@0.1.0"]));
        assert!(two.contains("exports detector and enricher"), "{two}");
    }

    #[test]
    fn truncated_bytes_never_panic() {
        let whole = component(&["picket:guest/types@0.1.0"], &["picket:guest/detector@0.1.0"]);
        for end in 0..whole.len() {
            // A cut between sections parses and lacks the export; a cut inside one does not parse.
            assert!(probe(Path::new("x.wasm"), &whole[..end]).is_err());
        }
    }
}
