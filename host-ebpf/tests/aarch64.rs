//! The kernel side compiles for aarch64, too. It has not been run there: docs/kernels.md says so.

use std::{env, process::Command};

#[test]
fn the_object_compiles_for_aarch64() {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let object = env::temp_dir().join(format!("picket-aarch64-{}.o", std::process::id()));
    let compiled = Command::new(&clang)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
        .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"])
        .args(["-D__TARGET_ARCH_arm64", "-c", "picket.bpf.c", "-o"])
        .arg(&object)
        .output();
    match compiled {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        // A machine whose clang has another name built the object with it; CLANG tells the test.
        Err(error) => eprintln!("skipped: {clang}: {error}: set CLANG"),
    }
    let _ = std::fs::remove_file(&object);
}
