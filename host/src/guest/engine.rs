//! The engine: compiles components, and ticks the deadlines of those that run.

use crate::text::hex;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, InstancePre, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, OptLevel};

use super::bindings::{detector, enricher, explain, host, lookup, memory, state as state_api, types};
use super::context::Context;
use super::probe::probe;
use super::state::States;
use super::{GuestError, MAX_COMPONENT_BYTES, World};

/// How often a running guest's deadline is looked at: a spinning guest ends at most this much too late.
const TICK: Duration = Duration::from_millis(10);

/// How a runtime is set up.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Where compiled code is kept; it is trusted as code, so the directory must be ours alone (made with mode 0700 if it is not there).
    /// `None`: every start compiles.
    pub cache_dir: Option<PathBuf>,
}

/// The engine that every guest of this process shares.
pub struct Runtime {
    pub(super) engine: Engine,
    linker: Linker<Context>,
    pub(super) states: Mutex<States>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// A compiled guest.
pub struct Component {
    pub name: String,
    pub path: PathBuf,
    /// SHA-256 of the file, hex.
    pub digest: String,
    /// Size of the file.
    pub bytes: usize,
    pub world: World,
    pub(super) pre: InstancePre<Context>,
    pub(super) exports: Indices,
    pub(super) explain: Option<explain::GuestIndices>,
    pub(super) memory: Option<memory::GuestIndices>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("digest", &self.digest)
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

/// Where the functions of the world are in the component.
#[derive(Clone)]
pub(super) enum Indices {
    Detector(detector::GuestIndices),
    Enricher(enricher::GuestIndices),
    /// Formatters are not run yet.
    Formatter,
}

impl Runtime {
    /// Sets up the engine and starts its ticker thread, which ends with the last use of the engine.
    pub fn new(options: &RuntimeOptions) -> Result<Runtime, GuestError> {
        let failed = |e: &dyn std::fmt::Display| GuestError::Runtime { reason: e.to_string() };
        let mut config = Config::new();
        config.epoch_interruption(true).wasm_component_model(true).cranelift_opt_level(OptLevel::Speed);
        if let Some(path) = &options.cache_dir {
            own_directory(path)?;
            let mut cache = CacheConfig::new();
            cache.with_directory(path);
            let refused = |e: wasmtime::Error| GuestError::CacheDir { path: path.clone(), reason: e.to_string() };
            let cache = Cache::new(cache).map_err(refused)?;
            config.cache(Some(cache));
        }
        let engine = Engine::new(&config).map_err(|e| failed(&e))?;
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("picket-epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|e| failed(&e))?;
        let mut linker = Linker::new(&engine);
        types::add_to_linker::<_, HasSelf<_>>(&mut linker, |c: &mut Context| c)
            .and_then(|()| host::add_to_linker::<_, HasSelf<_>>(&mut linker, |c: &mut Context| c))
            .and_then(|()| lookup::add_to_linker::<_, HasSelf<_>>(&mut linker, |c: &mut Context| c))
            .and_then(|()| state_api::add_to_linker::<_, HasSelf<_>>(&mut linker, |c: &mut Context| c))
            .map_err(|e| failed(&e))?;
        Ok(Runtime { engine, linker, states: Mutex::default() })
    }

    /// Compiles a component, or takes it from the cache. `path` is only named in errors.
    pub fn compile(&self, name: &str, path: &Path, bytes: &[u8]) -> Result<Arc<Component>, GuestError> {
        if bytes.len() > MAX_COMPONENT_BYTES {
            let (bytes, limit) = (bytes.len(), MAX_COMPONENT_BYTES);
            return Err(GuestError::TooLarge { path: path.into(), bytes, limit });
        }
        let probed = probe(path, bytes)?;
        let failed = |e: wasmtime::Error| GuestError::Compile { path: path.into(), reason: format!("{e:#}") };
        // A compiler is large, and these bytes may be hostile: its panic is a bad guest, not the end of the host.
        let compile = || wasmtime::component::Component::from_binary(&self.engine, bytes);
        let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .unwrap_or_else(|_| Err(wasmtime::Error::msg("the compiler panicked")))
            .map_err(failed)?;
        let pre = self.linker.instantiate_pre(&compiled).map_err(failed)?;
        let exports = match probed.world {
            World::Detector => Indices::Detector(detector::GuestIndices::new(&pre).map_err(failed)?),
            World::Enricher => Indices::Enricher(enricher::GuestIndices::new(&pre).map_err(failed)?),
            World::Formatter => Indices::Formatter,
        };
        let explain = if probed.explains { Some(explain::GuestIndices::new(&pre).map_err(failed)?) } else { None };
        let memory = if probed.remembers { Some(memory::GuestIndices::new(&pre).map_err(failed)?) } else { None };
        Ok(Arc::new(Component {
            name: name.to_owned(),
            path: path.to_owned(),
            digest: hex(&Sha256::digest(bytes)),
            bytes: bytes.len(),
            world: probed.world,
            pre,
            exports,
            explain,
            memory,
        }))
    }
}

/// Makes the directory if it is not there, and refuses one that others could write to: what is in it runs as our own code.
fn own_directory(dir: &Path) -> Result<(), GuestError> {
    let refuse = |reason: String| GuestError::CacheDir { path: dir.to_owned(), reason };
    let failed = |e: io::Error| refuse(e.to_string());
    if !dir.is_absolute() {
        return Err(refuse("the path is not absolute".to_owned()));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let found = fs::symlink_metadata(dir).map_err(failed)?;
    if !found.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(refuse(format!("its mode is {:03o}; it must be 700", found.mode() & 0o777)));
    }
    // A file we make belongs to our effective user: whose directory it is follows without asking for the user.
    let trial = dir.join(format!(".owner-{}", std::process::id()));
    let _ = fs::remove_file(&trial);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial).map_err(failed)?;
    let ours = file.metadata().map_err(failed)?.uid();
    fs::remove_file(&trial).map_err(failed)?;
    if found.uid() != ours {
        return Err(refuse(format!("it belongs to user {}, and we are user {ours}", found.uid())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_others_could_write_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        own_directory(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        own_directory(&dir).unwrap();

        let open = temp.path().join("open");
        fs::DirBuilder::new().mode(0o700).create(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
        assert!(own_directory(&open).unwrap_err().to_string().contains("its mode is 770"));

        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(own_directory(&link).unwrap_err().to_string().contains("not a directory"));
        assert!(own_directory(Path::new("relative")).unwrap_err().to_string().contains("not absolute"));
    }

    #[test]
    fn a_component_without_the_functions_of_its_world_is_refused() {
        let runtime = Runtime::new(&RuntimeOptions::default()).unwrap();
        let empty =
            crate::guest::probe::tests::component(&["picket:guest/types@0.1.0"], &["picket:guest/detector@0.1.0"]);
        let refused = runtime.compile("empty", Path::new("empty.wasm"), &empty).unwrap_err().to_string();
        assert!(refused.starts_with("empty.wasm: ") && refused.contains("init"), "{refused}");
        let mut broken = empty.clone();
        broken.extend_from_slice(&[7, 2, 1, 0xff]);
        assert!(matches!(
            runtime.compile("x", Path::new("x.wasm"), &broken),
            Err(GuestError::Compile { .. } | GuestError::NotAComponent { .. })
        ));
        let large = vec![0; MAX_COMPONENT_BYTES + 1];
        let refused = runtime.compile("x", Path::new("x.wasm"), &large).unwrap_err().to_string();
        assert_eq!(refused, "x.wasm: 67108865 bytes is above the limit of 67108864 bytes for a guest");
    }
}
